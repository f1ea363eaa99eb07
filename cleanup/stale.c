#include "cleanup/stale.h"

#include <string.h>

#include "base/clock.h"

#define PARTIAL_SIZE (16ULL * 1024 * 1024) /* bytes; less than one part of a large file is not gone on with */
#define RSYNC_RANDOM 6U                    /* characters of mkstemp */
#define NFS_HEX_MIN  8U                    /* digits after .nfs */

const char *stale_maker_name(enum stale_maker maker)
{
    static const char *const names[] = {
        [MAKER_NONE] = "",         [MAKER_HAUL] = "haul",       [MAKER_RSYNC] = "rsync",
        [MAKER_RCLONE] = "rclone", [MAKER_JUICEFS] = "juicefs", [MAKER_NFS] = "nfs",
    };
    return (unsigned)maker < sizeof(names) / sizeof(names[0]) ? names[maker] : "";
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

/* Whether len characters look as if they had been drawn by lot: letters and digits, not only small letters. */
static bool is_random(const char *s, size_t len, bool capitals)
{
    bool drawn = false;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(s[i]) && !is_lower(s[i]) && !(capitals && is_upper(s[i]))) {
            return false;
        }
        drawn = drawn || !is_lower(s[i]);
    }
    return drawn;
}

/* .name.XXXXXX */
static bool is_rsync(const char *name, size_t len)
{
    return len > RSYNC_RANDOM + 2 && name[0] == '.' && name[len - RSYNC_RANDOM - 1] == '.' &&
           is_random(name + len - RSYNC_RANDOM, RSYNC_RANDOM, true);
}

/* name.xxxxxxxx.partial: six to sixteen */
static bool is_rclone(const char *name, size_t len)
{
    static const char suffix[] = ".partial";
    size_t end = sizeof(suffix) - 1;
    if (len <= end || strcmp(name + len - end, suffix) != 0) {
        return false;
    }
    const char *dot = memrchr(name, '.', len - end);
    size_t random = dot != NULL ? len - end - (size_t)(dot + 1 - name) : 0;
    return dot != NULL && dot > name && random >= 6 && random <= 16 && is_random(dot + 1, random, false);
}

/* .name.tmp<digits>, .jfs.name.tmp.<random> */
static bool is_juicefs(const char *name)
{
    static const char mark[] = ".tmp";
    const char *last = NULL;
    if (name[0] != '.') {
        return false;
    }
    for (const char *at = strstr(name + 1, mark); at != NULL; at = strstr(at + 1, mark)) {
        last = at;
    }
    if (last == NULL) {
        return false;
    }
    const char *tail = last + sizeof(mark) - 1;
    if (strncmp(name, ".jfs.", 5) == 0 && *tail == '.') {
        return strlen(tail + 1) >= 1 && strchr(tail + 1, '.') == NULL;
    }
    size_t digits = strspn(tail, "0123456789");
    return digits >= 10 && tail[digits] == '\0';
}

static bool is_nfs(const char *name)
{
    size_t hex = strncmp(name, ".nfs", 4) == 0 ? strspn(name + 4, "0123456789abcdefABCDEF") : 0;
    return hex >= NFS_HEX_MIN && name[4 + hex] == '\0';
}

enum stale_maker stale_maker_of(const char *parent, const char *name, char out_run[RUN_ID_LEN + 1])
{
    size_t len = strlen(name);
    if (temp_name_parse(name, out_run)) {
        return MAKER_HAUL;
    }
    if (strcmp(parent, STALE_RSYNC_DIR) == 0 || is_rsync(name, len)) {
        return MAKER_RSYNC;
    }
    return is_nfs(name)           ? MAKER_NFS
           : is_juicefs(name)     ? MAKER_JUICEFS
           : is_rclone(name, len) ? MAKER_RCLONE
                                  : MAKER_NONE;
}

/* Since it was last changed; what is of the future is not old. Nobody can set ctime, and whoever writes moves it. */
static int64_t age(const struct stale_case *c)
{
    return c->now_ns - clock_ns_of(&c->attr->ctime);
}

static bool may_be_partial(const struct stale_case *c)
{
    if (c->partial_touched_ns != 0) {
        return c->now_ns - c->partial_touched_ns <= c->partial_ns;
    }
    return c->run == RUN_UNKNOWN && c->attr->size >= PARTIAL_SIZE && age(c) <= c->partial_ns;
}

enum stale_verdict stale_judge(const struct stale_case *c)
{
    if (c->maker == MAKER_NONE || S_ISDIR(c->attr->mode)) {
        return STALE_NOT;
    }
    if (c->maker == MAKER_HAUL && c->run == RUN_LIVES) {
        return STALE_LIVES;
    }
    if (c->maker == MAKER_HAUL && may_be_partial(c)) {
        return STALE_PARTIAL;
    }
    bool proved = c->maker == MAKER_HAUL && c->run == RUN_DEAD;
    return proved || age(c) > c->older_ns ? STALE_GOES : STALE_YOUNG;
}

const char *stale_why(enum stale_verdict verdict)
{
    static const char *const whys[] = {
        [STALE_GOES] = "stale",
        [STALE_LIVES] = "of a run that lives",
        [STALE_YOUNG] = "too young to be sure that nobody works with it (--older-than)",
        [STALE_PARTIAL] = "part of a large file that the next run goes on with (--partial-max-age)",
        [STALE_NOT] = "no temp name",
    };
    return (unsigned)verdict < sizeof(whys) / sizeof(whys[0]) ? whys[verdict] : "?";
}
