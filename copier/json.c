#include "copier/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/name.h"

static void set_hex(json_t *object, const char *key, const char *text)
{
    size_t len = strlen(text);
    char *hex = malloc(2 * len + 1);
    char *hex_key = NULL;
    if (hex != NULL && asprintf(&hex_key, "%s_hex", key) > 0) {
        for (size_t i = 0; i < len; i++) {
            snprintf(hex + 2 * i, 3, "%02x", (unsigned char)text[i]);
        }
        json_object_set_new(object, hex_key, json_string(hex));
        free(hex_key);
    }
    free(hex);
}

void json_set_text(json_t *object, const char *key, const char *text)
{
    json_t *value = json_string(text);
    if (value == NULL) {
        char *shown = name_show(text);
        value = json_string(shown != NULL ? shown : "");
        free(shown);
        set_hex(object, key, text);
    }
    json_object_set_new(object, key, value);
}

void json_set_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

json_t *json_event(const char *event)
{
    struct timespec now;
    struct tm tm;
    char date[32];
    char text[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof text, "%s.%03ldZ", date, now.tv_nsec / 1000000);
    json_t *object = json_object();
    json_object_set_new(object, "event", json_string(event));
    json_object_set_new(object, "time", json_string(text));
    return object;
}

int json_emit(json_t *object, FILE *out)
{
    if (object == NULL) {
        return -ENOMEM;
    }
    char *line = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (line == NULL) {
        return -ENOMEM;
    }
    int bad = fputs(line, out) < 0 || fputc('\n', out) < 0 || fflush(out) != 0;
    free(line);
    return bad ? -EIO : 0;
}
