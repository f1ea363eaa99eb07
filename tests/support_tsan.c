/*
 * support_tsan: lets Criterion run under the thread sanitizer.
 *
 * Criterion's sandbox maps memory at an address made of rand_r, and gives up after three that cannot be had; the thread
 * sanitizer refuses nearly all of them. So rand_r gives only numbers that lead to those which it leaves to programs.
 * This must be a source of each program: from a library it would not be taken, since the sanitizer has a rand_r too.
 */
#if defined(__SANITIZE_THREAD__)
#include <stdint.h>
#include <stdlib.h>

/* The sandbox's address is 0x200000000000 + (number << 24); the sanitizer leaves 0x55... to 0x567... on x86_64. */
#define FIRST 0x350000U
#define COUNT 0x16000U

__attribute__((no_sanitize("thread"))) int rand_r(unsigned *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return (int)(FIRST + (*seed >> 8) % COUNT);
}
#endif
typedef int haul_support_tsan;
