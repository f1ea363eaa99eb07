#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/url.h"

TestSuite(url, .timeout = 10);

/* That text is taken as this host, port and path, is the same place as normal, and that normal is its own. */
static void takes(const char *text, const char *host, unsigned port, const char *path, const char *normal)
{
    struct url url = {0};
    char *problem = NULL;
    cr_assert_eq(url_parse(text, &url, &problem), 0, "%s: %s", text, problem);
    cr_expect_str_eq(url.host, host, "%s: %s", text, url.host);
    cr_expect_eq(url.port, port, "%s: %u", text, url.port);
    cr_expect_str_eq(url.path, path, "%s: %s", text, url.path);
    char *shown = url_text(&url);
    cr_expect_str_eq(shown, normal, "%s: %s", text, shown);
    url_release(&url);

    cr_assert_eq(url_parse(shown, &url, &problem), 0, "%s: %s", shown, problem);
    char *again = url_text(&url);
    cr_expect_str_eq(again, shown, "%s: %s", shown, again);
    cr_expect_str_eq(url.path, path);
    url_release(&url);
    free(shown);
    free(again);
}

/* That text is refused, with those words. */
static void refuses(const char *text, const char *words)
{
    struct url url = {.port = 7};
    char *problem = NULL;
    cr_expect_eq(url_parse(text, &url, &problem), -EINVAL, "%s", text);
    cr_assert_not_null(problem, "%s", text);
    cr_expect_not_null(strstr(problem, words), "%s: %s", text, problem);
    cr_expect(url.host == NULL && url.port == 7, "written on failure");
    free(problem);
}

Test(url, server_port_and_path)
{
    takes("nfs://server/export/path", "server", 2049, "/export/path", "nfs://server/export/path");
    takes("nfs://server:12049/export", "server", 12049, "/export", "nfs://server:12049/export");
    takes("nfs://127.0.0.1:2049/e", "127.0.0.1", 2049, "/e", "nfs://127.0.0.1/e");
    takes("nfs://fs-1234.efs.eu-west-1.amazonaws.com/", "fs-1234.efs.eu-west-1.amazonaws.com", 2049, "/",
          "nfs://fs-1234.efs.eu-west-1.amazonaws.com/");
    takes("nfs://server", "server", 2049, "/", "nfs://server/");
    takes("NFS://Server.Example/Export", "server.example", 2049, "/Export", "nfs://server.example/Export");
    takes("nfs://server/export?version=4.1", "server", 2049, "/export", "nfs://server/export");
    takes("nfs://server?version=4.1", "server", 2049, "/", "nfs://server/");
}

Test(url, addresses_in_brackets)
{
    takes("nfs://[::1]/e", "::1", 2049, "/e", "nfs://[::1]/e");
    takes("nfs://[2001:DB8:0:0::0001]:65535/e/f", "2001:db8::1", 65535, "/e/f", "nfs://[2001:db8::1]:65535/e/f");
    takes("nfs://[fe80::1%25eth0]/e", "fe80::1%eth0", 2049, "/e", "nfs://[fe80::1%25eth0]/e");
    takes("nfs://[fe80::1%eth0]/e", "fe80::1%eth0", 2049, "/e", "nfs://[fe80::1%25eth0]/e");
    takes("nfs://[::ffff:10.0.0.1]/e", "::ffff:10.0.0.1", 2049, "/e", "nfs://[::ffff:10.0.0.1]/e");
}

Test(url, one_place_has_one_text)
{
    takes("nfs://s//a///b/./c/.", "s", 2049, "/a/b/c", "nfs://s/a/b/c");
    takes("nfs://s/a/b/", "s", 2049, "/a/b", "nfs://s/a/b");
    takes("nfs://s/./", "s", 2049, "/", "nfs://s/");
    takes("nfs://s///", "s", 2049, "/", "nfs://s/");
    takes("nfs://s:02049/a", "s", 2049, "/a", "nfs://s/a");
}

Test(url, names_are_decoded)
{
    takes("nfs://s/a%20b", "s", 2049, "/a b", "nfs://s/a%20b");
    takes("nfs://s/a b", "s", 2049, "/a b", "nfs://s/a%20b");
    takes("nfs://s/%61", "s", 2049, "/a", "nfs://s/a");
    takes("nfs://s/100%25", "s", 2049, "/100%", "nfs://s/100%25");
    takes("nfs://s/%3f%23%0a", "s", 2049, "/?#\n", "nfs://s/%3F%23%0A");
    takes("nfs://s/%FF\xfe", "s", 2049, "/\xff\xfe", "nfs://s/%FF%FE");
    takes("nfs://s/a:b@c/(d)", "s", 2049, "/a:b@c/(d)", "nfs://s/a:b@c/(d)");
    takes("nfs://s/%2E%2E%2E/x", "s", 2049, "/.../x", "nfs://s/.../x");
    takes("nfs://s/a/%2E/b", "s", 2049, "/a/b", "nfs://s/a/b");
}

Test(url, what_is_malformed)
{
    refuses("nfs://", "names no server");
    refuses("nfs:///export", "names no server");
    refuses("nfs://:2049/export", "names no server");
    refuses("nfs://server:/export", "'' is not a port");
    refuses("nfs://server:0/export", "'0' is not a port");
    refuses("nfs://server:65536/export", "'65536' is not a port");
    refuses("nfs://server:http/export", "'http' is not a port");
    refuses("nfs://server: 2049/export", "is not a port");
    refuses("nfs://::1/export", "brackets");
    refuses("nfs://2001:db8::1/export", "brackets");
    refuses("nfs://[::1/export", "not closed");
    refuses("nfs://[::1]2049/export", "'2049' follows");
    refuses("nfs://[server]/export", "'server' is not an IPv6 address");
    refuses("nfs://[]/export", "'' is not an IPv6 address");
    refuses("nfs://[fe80::1%]/export", "interface");
    refuses("nfs://[fe80::1%25a/b]/export", "not closed");
    refuses("nfs://ser ver/export", "'ser ver' is not the name of a server");
    refuses("nfs://sérver/export", "is not the name of a server");
    refuses("nfs://user@server/export", "--nfs-uid");
    refuses("/a/path", "no nfs:// URL");
}

Test(url, what_no_path_can_hold)
{
    refuses("nfs://s/a%2Fb", "'%2F' is in it");
    refuses("nfs://s/a%2fb", "slash");
    refuses("nfs://s/a%00b", "NUL");
    refuses("nfs://s/100%", "'%25'");
    refuses("nfs://s/%4", "'%25'");
    refuses("nfs://s/%4/x", "'%25'");
    refuses("nfs://s/%zz", "'%25'");
    refuses("nfs://s/a/../b", "'..'");
    refuses("nfs://s/..", "'..'");
    refuses("nfs://s/%2e%2E/b", "'..'");
    refuses("nfs://s/a#b", "'%23'");
}

Test(url, versions)
{
    takes("nfs://s/a?version=3", "s", 2049, "/a", "nfs://s/a?version=3");
    takes("nfs://s:2049/a?version=3&mountport=20048", "s", 2049, "/a", "nfs://s/a?version=3");
    takes("nfs://s:2050/a/b/?version=3", "s", 2050, "/a/b", "nfs://s:2050/a/b?version=3");
    refuses("nfs://s/a?version=3&mountport=0", "'0' is not a port");
    refuses("nfs://s/a?version=3&mountport=", "'' is not a port");
    refuses("nfs://s/a?version=3&x=y", "'x=y' is not known");
    refuses("nfs://s/a?version=30", "'30' is no version");
    refuses("nfs://s/a?mountport=20048", "'?mountport=20048' is not known");
    refuses("nfs://s/a?version=4", "'4' is no version");
    refuses("nfs://s/a?version=4.2", "'4.2' is no version");
    refuses("nfs://s/a?version=", "'' is no version");
    refuses("nfs://s/a?version=4.1&x=y", "is no version");
    refuses("nfs://s/a?", "'?' is not known");
    refuses("nfs://s/a?nconnect=4", "'?nconnect=4' is not known");
    refuses("nfs://s/why?/", "'%3F'");
}

Test(url, what_is_meant_as_one)
{
    cr_assert(url_is("nfs://x") && url_is("NFS://") && url_is("nfs:///"));
    cr_assert(!url_is("nfs:/x") && !url_is("./nfs://x") && !url_is("nfs") && !url_is(""));
}

Test(url, directory_and_name)
{
    static const struct {
        const char *text;
        const char *parent;
        const char *name;
        bool slash;
    } cases[] = {{"nfs://s/a/b", "/a", "b", false},
                 {"nfs://s/a/b/", "/a", "b", true},
                 {"nfs://s/a", "/", "a", false},
                 {"nfs://s/", "/", NULL, true},
                 {"nfs://s", "/", NULL, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct url url = {0};
        char *problem = NULL;
        cr_assert_eq(url_parse(cases[i].text, &url, &problem), 0);
        char *parent = url_parent(&url);
        cr_expect_str_eq(parent, cases[i].parent, "%s", cases[i].text);
        cr_expect_eq(url.slash, cases[i].slash, "%s", cases[i].text);
        if (cases[i].name == NULL) {
            cr_expect_null(url_name(&url), "%s", cases[i].text);
        } else {
            cr_expect_str_eq(url_name(&url), cases[i].name, "%s", cases[i].text);
        }
        struct url up = {0};
        cr_assert_eq(url_copy(&url, parent, &up), 0);
        cr_expect_str_eq(up.path, parent);
        cr_expect_str_eq(up.host, "s");
        url_release(&up);
        url_release(&url);
        free(parent);
    }
}
