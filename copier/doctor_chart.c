#include "copier/doctor_chart.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "copier/json.h"

enum { TOPIC_COLUMNS = 12 };

static const char *const words[DOCTOR_MARKS] = {"fact", "good", "better", "bad"};
static const char *const marks[DOCTOR_MARKS] = {"    ", "good", "  ? ", "BAD "};

int doctor_chart_init(struct doctor_chart *c, FILE *out, bool json)
{
    *c = (struct doctor_chart){.out = out, .json = json, .figures = json_object()};
    return c->figures == NULL ? -ENOMEM : 0;
}

void doctor_chart_release(struct doctor_chart *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->lines[i].text);
        free(c->lines[i].fix);
    }
    free(c->lines);
    json_decref(c->figures);
    *c = (struct doctor_chart){0};
}

static int print_text(FILE *out, const struct doctor_line *line)
{
    int bad = fprintf(out, "%s  %-*s  %s\n", marks[line->mark], TOPIC_COLUMNS, line->topic, line->text) < 0;
    if (line->fix != NULL) {
        bad |= fprintf(out, "%*s  -> %s\n", 6 + TOPIC_COLUMNS, "", line->fix) < 0;
    }
    return bad || fflush(out) != 0 ? -EIO : 0;
}

static int print_json(FILE *out, const struct doctor_line *line)
{
    json_t *event = json_event("check");
    json_set_text(event, "mark", words[line->mark]);
    json_set_text(event, "topic", line->topic);
    json_set_text(event, "text", line->text);
    if (line->fix != NULL) {
        json_set_text(event, "fix", line->fix);
    }
    return json_emit(event, out);
}

/* What a path or a server's name brings along does not reach the terminal as it is. NULL: no memory. */
static char *shown(char *text)
{
    char *safe = text != NULL ? name_show(text) : NULL;
    free(text);
    return safe;
}

void doctor_add(struct doctor_chart *c, enum doctor_mark mark, const char *topic, const char *fix, const char *format,
                ...)
{
    struct doctor_line line = {.mark = mark, .topic = topic};
    va_list args;
    va_start(args, format);
    if (vasprintf(&line.text, format, args) < 0) {
        line.text = NULL;
    }
    va_end(args);
    line.text = shown(line.text);
    line.fix = fix != NULL ? name_show(fix) : NULL;
    struct doctor_line *more = reallocarray(c->lines, c->count + 1, sizeof *more);
    c->lines = more != NULL ? more : c->lines;
    if (more == NULL || line.text == NULL || (fix != NULL && line.fix == NULL)) {
        free(line.text);
        free(line.fix);
        c->failed = -ENOMEM;
        return;
    }
    c->lines[c->count++] = line;
    c->marks[mark]++;
    int r = c->out == NULL ? 0 : c->json ? print_json(c->out, &line) : print_text(c->out, &line);
    c->failed = c->failed != 0 ? c->failed : r;
}

void doctor_chart_end(struct doctor_chart *c, const char *place, int status)
{
    int r = 0;
    if (c->json) {
        json_t *event = json_event("doctor");
        json_set_text(event, "place", place);
        for (int i = 0; i < DOCTOR_MARKS; i++) {
            json_set_number(event, words[i], c->marks[i]);
        }
        json_object_update(event, c->figures);
        json_object_set_new(event, "status", json_integer(status));
        r = json_emit(event, c->out);
    } else if (c->marks[DOCTOR_BAD] + c->marks[DOCTOR_BETTER] == 0) {
        r = fprintf(c->out, "\nall is well\n") < 0 || fflush(c->out) != 0 ? -EIO : 0;
    } else {
        r = fprintf(c->out, "\n%zu bad, %zu could be better\n", c->marks[DOCTOR_BAD], c->marks[DOCTOR_BETTER]) < 0 ||
                    fflush(c->out) != 0
                ? -EIO
                : 0;
    }
    c->failed = c->failed != 0 ? c->failed : r;
}
