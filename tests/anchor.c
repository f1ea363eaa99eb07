/* Keeps the support library from being empty. */
typedef int haul_test_anchor;
