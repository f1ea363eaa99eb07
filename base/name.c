/*
 * name: run ids, temp names, shown names (name.h).
 */
#include "base/name.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define TEMP_PREFIX     ".haul."
#define TEMP_PREFIX_LEN (sizeof(TEMP_PREFIX) - 1)
#define TEMP_RANDOM     8                                                    /* random bytes in a temp name */
#define TEMP_NAME_LEN   (TEMP_PREFIX_LEN + RUN_ID_LEN + 1 + 2 * TEMP_RANDOM) /* characters */

_Static_assert(TEMP_NAME_LEN < TEMP_NAME_MAX, "a temp name fits");

static const char hex_digits[] = "0123456789abcdef";

bool name_is_dots(const char *name, size_t len)
{
    return len > 0 && name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

/* All len bytes from the kernel, or -errno. */
static int random_bytes(void *buf, size_t len)
{
    unsigned char *at = buf;
    while (len > 0) {
        const ssize_t n = getrandom(at, len, 0);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static void put_hex(char *out, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex_digits[bytes[i] >> 4];
        out[2 * i + 1] = hex_digits[bytes[i] & 15];
    }
}

static bool all_hex(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f'))) {
            return false; /* the final NUL of a shorter string ends here too */
        }
    }
    return true;
}

int run_id_make(char out_id[RUN_ID_LEN + 1])
{
    unsigned char bytes[RUN_ID_LEN / 2];
    const int err = random_bytes(bytes, sizeof(bytes));
    if (err != 0) {
        return err;
    }
    put_hex(out_id, bytes, sizeof(bytes));
    out_id[RUN_ID_LEN] = '\0';
    return 0;
}

bool run_id_valid(const char *s)
{
    return all_hex(s, RUN_ID_LEN) && s[RUN_ID_LEN] == '\0';
}

/* Random bytes of one system call, for the temp names of one thread. */
static _Thread_local struct {
    bool watched;  /* forget_block is called in a forked child */
    unsigned left; /* unused bytes at the end */
    unsigned char bytes[32 * TEMP_RANDOM];
} block;

/* In a forked child, which has the thread that forked alone: the bytes are its parent's too. */
static void forget_block(void)
{
    block.left = 0;
}

/* Fills the calling thread's block. 0 or -errno. */
static int fill_block(void)
{
    if (!block.watched) {
        const int err = pthread_atfork(NULL, NULL, forget_block);
        if (err != 0) {
            return -err;
        }
        block.watched = true;
    }
    const int err = random_bytes(block.bytes, sizeof(block.bytes));
    if (err == 0) {
        block.left = sizeof(block.bytes);
    }
    return err;
}

int temp_name_make(const char *run_id, char out_name[TEMP_NAME_MAX])
{
    if (!run_id_valid(run_id)) {
        return -EINVAL;
    }
    if (block.left < TEMP_RANDOM) {
        const int err = fill_block();
        if (err != 0) {
            return err;
        }
    }

    char *at = out_name;
    memcpy(at, TEMP_PREFIX, TEMP_PREFIX_LEN);
    at += TEMP_PREFIX_LEN;
    memcpy(at, run_id, RUN_ID_LEN);
    at += RUN_ID_LEN;
    *at++ = '.';
    put_hex(at, block.bytes + sizeof(block.bytes) - block.left, TEMP_RANDOM);
    at[(size_t)2 * TEMP_RANDOM] = '\0';
    block.left -= TEMP_RANDOM;
    return 0;
}

bool temp_name_parse(const char *name, char out_id[RUN_ID_LEN + 1])
{
    if (strncmp(name, TEMP_PREFIX, TEMP_PREFIX_LEN) != 0) {
        return false;
    }
    const char *id = name + TEMP_PREFIX_LEN;
    if (!all_hex(id, RUN_ID_LEN) || id[RUN_ID_LEN] != '.') {
        return false;
    }
    const char *random = id + RUN_ID_LEN + 1;
    if (!all_hex(random, (size_t)2 * TEMP_RANDOM) || random[(size_t)2 * TEMP_RANDOM] != '\0') {
        return false;
    }
    if (out_id != NULL) {
        memcpy(out_id, id, RUN_ID_LEN);
        out_id[RUN_ID_LEN] = '\0';
    }
    return true;
}

bool temp_name_is_of(const char *name, const char *run_id)
{
    char id[RUN_ID_LEN + 1];
    return temp_name_parse(name, id) && strcmp(id, run_id) == 0;
}

/*
 * Length of the valid UTF-8 sequence of more than one byte at s (NUL-terminated), with its code point; 0 where there
 * is none: no surrogates, no overlong forms, nothing above U+10FFFF.
 */
static size_t utf8_sequence(const unsigned char *s, unsigned *out_code)
{
    size_t len = 0;
    unsigned code = 0;
    unsigned least = 0;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        len = 2;
        code = s[0] & 0x1FU;
        least = 0x80;
    } else if ((s[0] & 0xF0U) == 0xE0) {
        len = 3;
        code = s[0] & 0x0FU;
        least = 0x800;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        len = 4;
        code = s[0] & 0x07U;
        least = 0x10000;
    } else {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0U) != 0x80) {
            return 0;
        }
        code = code << 6 | (s[i] & 0x3FU);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
        return 0;
    }
    *out_code = code;
    return len;
}

/* Whether a code point above ASCII may be shown: none that control the terminal or turn the direction of the text, so
 * that a name cannot look like another. */
static bool code_shown(unsigned code)
{
    if (code < 0xA0 || code == 0xAD || code == 0x61C || code == 0xFEFF) {
        return false; /* C1 controls, soft hyphen, Arabic letter mark, byte order mark */
    }
    if ((code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
        (code >= 0x2060 && code <= 0x206F)) {
        return false; /* zero width, line and paragraph separators, direction marks, invisible operators */
    }
    if ((code >= 0xFFF9 && code <= 0xFFFB) || (code >= 0xE0000 && code <= 0xE0FFF)) {
        return false; /* annotations, tags */
    }
    return (code & 0xFFFEU) != 0xFFFE; /* not a character */
}

static char *put_octal(char *at, unsigned char c)
{
    *at++ = '\\';
    *at++ = (char)('0' + (c >> 6));
    *at++ = (char)('0' + ((c >> 3) & 7));
    *at++ = (char)('0' + (c & 7));
    return at;
}

char *name_show(const char *text)
{
    const size_t len = strlen(text);
    if (len > (SIZE_MAX - 1) / 4) {
        return NULL;
    }
    char *out = malloc(4 * len + 1);
    if (out == NULL) {
        return NULL;
    }
    char *at = out;
    const unsigned char *s = (const unsigned char *)text;
    while (*s != '\0') {
        unsigned code = 0;
        size_t n = utf8_sequence(s, &code);
        if (n > 0 && code_shown(code)) {
            memcpy(at, s, n);
            at += n;
            s += n;
            continue;
        }
        if (*s == '\\' || *s == '\n' || *s == '\t') {
            *at++ = '\\';
            *at++ = *s == '\\' ? '\\' : (*s == '\n' ? 'n' : 't');
        } else if (*s >= ' ' && *s < 0x7F) {
            *at++ = (char)*s;
        } else {
            at = put_octal(at, *s);
        }
        s++;
    }
    *at = '\0';
    return out;
}
