/* The server behind a mount, out of mountinfo. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copier/mounturl.h"

TestSuite(mounturl, .timeout = 20);

/* The line of a mount on /mnt: source and options as the kernel shows them; path is asked for. */
static struct mounturl of(const char *flags, const char *type, const char *source, const char *options,
                          const char *path)
{
    char line[1024];
    struct mount_place place = {0};
    struct mounturl m = {0};
    int len = snprintf(line, sizeof line, "27 1 254:0 / / rw - ext4 /dev/vda rw\n40 27 0:40 / /mnt %s - %s %s %s\n",
                       flags, type, source, options);
    FILE *f = fmemopen(line, (size_t)len, "r");
    cr_assert_not_null(f);
    cr_assert_eq(mounts_place(f, path, &place), 0, "%s", line);
    fclose(f);
    cr_assert_eq(mounturl_of(&place, &m), 0, "%s", line);
    mounts_release(&place);
    return m;
}

static void becomes(const char *source, const char *options, const char *path, const char *url)
{
    struct mounturl m = of("rw,noatime", "nfs4", source, options, path);
    cr_assert_null(m.why, "%s: %s", source, m.why);
    char *text = url_text(&m.url);
    cr_expect_str_eq(text, url, "%s", text);
    free(text);
    cr_expect(!m.read_only);
    mounturl_release(&m);
}

static void cannot(const char *options, const char *why)
{
    struct mounturl m = of("rw", "nfs4", "server:/e", options, "/mnt");
    cr_assert_not_null(m.why, "%s", options);
    cr_expect_not_null(strstr(m.why, why), "%s: %s", options, m.why);
    cr_expect_null(m.url.host);
    mounturl_release(&m);
}

Test(mounturl, urls)
{
    becomes("server:/", "rw,vers=4.1,sec=sys,proto=tcp,addr=10.0.0.1", "/mnt", "nfs://server/");
    becomes("Server.Example:/export/data/", "rw,vers=4.2,addr=10.0.0.1", "/mnt/a/b",
            "nfs://server.example/export/data/a/b");
    becomes("server://export//./data", "rw,vers=4.0,addr=10.0.0.1", "/mnt/x", "nfs://server/export/data/x");
    becomes("127.0.0.1:/", "rw,vers=4.1,port=20449,proto=tcp", "/mnt/a", "nfs://127.0.0.1:20449/a");
    becomes("[2001:db8::1]:/e", "rw,vers=4.1,proto=tcp6", "/mnt", "nfs://[2001:db8::1]/e");
    becomes("server:/with\\040blank\\134", "rw,vers=4.1", "/mnt/%", "nfs://server/with%20blank%5C/%25");
    becomes("server:/e", "rw,vers=4.1,xprtsec=none", "/mnt/..a/...", "nfs://server/e/..a/...");
    becomes("server:/e", "rw,vers=4.1,clientaddr=10.0.0.2,mountvers=3,mountproto=udp", "/mnt", "nfs://server/e");
}

Test(mounturl, why_not)
{
    cannot("rw,vers=2,sec=sys,proto=tcp", "NFSv2");
    cannot("rw,vers=3,proto=tcp,sec=krb5", "Kerberos");
    cannot("rw,vers=3,proto=tcp,mountaddr=10.0.0.2,mountproto=tcp,addr=10.0.0.1", "another address");
    cannot("rw,vers=3,proto=tcp,mountaddr=10.0.0.10,mountproto=tcp,addr=10.0.0.1", "another address");
    cannot("rw,vers=4.1,sec=krb5,proto=tcp", "Kerberos");
    cannot("rw,vers=4.1,sec=krb5i", "Kerberos");
    cannot("rw,vers=4.1,sec=krb5p", "Kerberos");
    cannot("rw,vers=4.2,sec=sys,xprtsec=tls", "TLS");
    cannot("rw,vers=4.2,sec=sys,xprtsec=mtls", "TLS");
    cannot("rw,vers=4.1,sec=null", "any user");
    cannot("rw,vers=4.1,proto=rdma", "RDMA");
    cannot("rw,vers=4.1,proto=rdma6", "RDMA");
    cannot("rw,vers=3,proto=udp", "UDP");
    struct mounturl m = of("rw", "nfs4", "server:/a/../b", "rw,vers=4.1", "/mnt");
    cr_expect_not_null(m.why);
    cr_expect_null(m.url.host);
    mounturl_release(&m);
}

/* A mount of NFSv3: with its ports, as far as they are said and of use. */
Test(mounturl, version_3)
{
    static const struct {
        const char *options;
        unsigned port;       /* as given; 0: not */
        unsigned mount_port; /* 0: to be asked for */
        const char *text;
    } rows[] = {
        {"rw,vers=3,proto=tcp,mountaddr=10.0.0.1,mountvers=3,mountport=20048,mountproto=udp,addr=10.0.0.1", 0, 0,
         "nfs://server/e/a?version=3"},
        {"rw,vers=3,proto=tcp,mountaddr=10.0.0.1,mountvers=3,mountport=20048,mountproto=tcp,addr=10.0.0.1", 0, 20048,
         "nfs://server/e/a?version=3"},
        {"rw,vers=3,proto=tcp,port=2049,mountport=0,mountproto=tcp", 2049, 0, "nfs://server/e/a?version=3"},
        {"rw,vers=3,proto=tcp6,port=20049,mountport=70000,mountproto=tcp6", 20049, 0,
         "nfs://server:20049/e/a?version=3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mounturl m = of("rw", "nfs", "server:/e", rows[i].options, "/mnt/a");
        cr_assert_null(m.why, "row %zu: %s", i, m.why);
        char *text = url_text(&m.url);
        cr_expect_str_eq(text, rows[i].text, "row %zu", i);
        cr_expect_eq(m.url.version, URL_NFS3);
        cr_expect_eq(m.url.port_given, rows[i].port != 0, "row %zu", i);
        cr_expect_eq(m.url.port, rows[i].port != 0 ? rows[i].port : URL_PORT, "row %zu", i);
        cr_expect_eq(m.url.mount_port, rows[i].mount_port, "row %zu", i);
        free(text);
        mounturl_release(&m);
    }
}

Test(mounturl, how_it_is_mounted)
{
    struct mounturl m = of("ro,relatime", "nfs4", "s:/", "rw,vers=4.1", "/mnt");
    cr_expect(m.read_only && m.reserved_port, "the mount point");
    mounturl_release(&m);
    m = of("rw,relatime", "nfs4", "s:/", "ro,vers=4.1,noresvport", "/mnt");
    cr_expect(m.read_only && !m.reserved_port, "the mount itself");
    mounturl_release(&m);
    m = of("rw,relatime", "nfs4", "s:/", "rw,vers=4.1,root=ro", "/mnt");
    cr_expect(!m.read_only, "a value is no option");
    mounturl_release(&m);
}

Test(mounturl, no_nfs_mount)
{
    struct mounturl m = {0};
    cr_assert_eq(mounturl_find("/proc", &m), 0);
    cr_expect_null(m.url.host);
    cr_expect_not_null(strstr(m.why, "not on an NFS mount"));
    mounturl_release(&m);
}

Test(mounturl, options)
{
    size_t len = 99;
    cr_expect_null(mounts_option("rw,vers=4.1", "ver", &len));
    cr_expect_null(mounts_option("rw,mountvers=3", "vers", &len));
    cr_expect_null(mounts_option("noresvport", "resvport", NULL));
    const char *value = mounts_option("rw,vers=4.1,hard", "vers", &len);
    cr_assert_not_null(value);
    cr_expect(len == 3 && strncmp(value, "4.1", 3) == 0);
    cr_expect_not_null(mounts_option("rw,vers=4.1,hard", "hard", &len));
    cr_expect_eq(len, 0);
}
