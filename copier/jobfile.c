#include "copier/jobfile.h"

#include <errno.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/errs.h"
#include "base/name.h"
#include "copier/json.h"
#include "copier/status.h"
#include "copier/url.h"

#define IN_ORDER "in-order"

struct jobfile {
    config_t file; /* what was read */
    char *path;    /* owned */
    char **texts;  /* numbers as text, owned */
    size_t count;  /* of texts */
};

/* What is being gone through. */
struct walk {
    struct jobfile *config;
    jobfile_take take; /* NULL: only looked at */
    void *arg;
    const config_setting_t *instead; /* group whose keys stand instead of those that are met; NULL: none */
    FILE *errors;
};

/* Says what is wrong at that setting. Always -EINVAL. */
__attribute__((format(printf, 4, 5))) static int wrong(const struct jobfile *c, const config_setting_t *at,
                                                       FILE *errors, const char *format, ...)
{
    const char *file = config_setting_source_file(at);
    char *shown = name_show(file != NULL ? file : c->path);
    va_list args;
    va_start(args, format);
    fprintf(errors, "haul: %s:%u: ", shown != NULL ? shown : "?", (unsigned)config_setting_source_line(at));
    vfprintf(errors, format, args);
    fputc('\n', errors);
    va_end(args);
    free(shown);
    return -EINVAL;
}

static const struct option_row *row_named(const char *name)
{
    for (unsigned i = 0; i < options_table_rows; i++) {
        if (strcmp(options_table[i].name, name) == 0) {
            return &options_table[i];
        }
    }
    return NULL;
}

/* A whole number as text that lives as long as the config; NULL: no memory. */
static const char *keep_number(struct jobfile *c, long long number)
{
    char **more = realloc(c->texts, (c->count + 1) * sizeof *more);
    if (more == NULL) {
        return NULL;
    }
    c->texts = more;
    if (asprintf(&c->texts[c->count], "%lld", number) < 0) {
        return NULL;
    }
    return c->texts[c->count++];
}

/* Has one value taken; what is said about it gets file and line. */
static int take_value(const struct walk *w, const config_setting_t *at, const struct option_row *row, const char *value)
{
    char *said = NULL;
    size_t len = 0;
    FILE *errors = w->take != NULL ? open_memstream(&said, &len) : NULL;
    if (errors == NULL) {
        return w->take != NULL ? -ENOMEM : 0;
    }
    int r = w->take(w->arg, row, value, errors);
    if (fclose(errors) == 0 && r != 0) {
        /* "haul: --jobs: ...\nTry ...": its first line, with where it stands instead of who says it */
        const char *text = strncmp(said, "haul: ", 6) == 0 ? said + 6 : said;
        wrong(w->config, at, w->errors, "%.*s", (int)strcspn(text, "\n"), text);
    }
    free(said);
    return r;
}

/* A single value: a string, a whole number, or true and false where it needs none. */
static int go_value(const struct walk *w, const config_setting_t *s, const struct option_row *row)
{
    const char *value = NULL;
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_BOOL:
        if (row->arg != NULL && !row->optional) {
            return wrong(w->config, s, w->errors, "'%s' takes %s, not true or false", row->name, row->arg);
        }
        return config_setting_get_bool(s) ? take_value(w, s, row, NULL) : 0;
    case CONFIG_TYPE_STRING:
        value = config_setting_get_string(s);
        break;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        value = keep_number(w->config, config_setting_get_int64(s));
        if (value == NULL) {
            return -ENOMEM;
        }
        break;
    default:
        return wrong(w->config, s, w->errors, "the value of '%s' is neither a string nor a whole number", row->name);
    }
    if (row->arg == NULL) {
        return wrong(w->config, s, w->errors, "'%s' is true or false", row->name);
    }
    return take_value(w, s, row, value);
}

static int go_option(const struct walk *w, const config_setting_t *s)
{
    const struct option_row *row = row_named(config_setting_name(s));
    if (row == NULL) {
        return wrong(w->config, s, w->errors, "'%s' is not an option of haul", config_setting_name(s));
    }
    if (!options_in_file(row->id)) {
        return wrong(w->config, s, w->errors, "'%s' is not an option of a job", row->name);
    }
    if (!config_setting_is_array(s) && !config_setting_is_list(s)) {
        return go_value(w, s, row);
    }
    if (!options_takes_many(row->id)) {
        return wrong(w->config, s, w->errors, "'%s' takes one value", row->name);
    }
    int r = 0;
    for (int i = 0; i < config_setting_length(s) && r == 0; i++) {
        r = go_value(w, config_setting_get_elem(s, (unsigned)i), row);
    }
    return r;
}

static bool is_place(const char *name)
{
    return strcmp(name, "source") == 0 || strcmp(name, "destination") == 0;
}

static int go_group(const struct walk *w, const config_setting_t *group, bool is_job);

static int go_in_order(const struct walk *w, const config_setting_t *list)
{
    int r = config_setting_is_list(list) ? 0 : wrong(w->config, list, w->errors, "'" IN_ORDER "' is a list of groups");
    for (int i = 0; i < config_setting_length(list) && r == 0; i++) {
        const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
        r = config_setting_is_group(group) && config_setting_get_member(group, IN_ORDER) == NULL
                ? go_group(w, group, false)
                : wrong(w->config, group, w->errors, "'" IN_ORDER "' is a list of groups");
    }
    return r;
}

/* All options in a group, in their order. */
static int go_group(const struct walk *w, const config_setting_t *group, bool is_job)
{
    int r = 0;
    for (int i = 0; i < config_setting_length(group) && r == 0; i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(s);
        if ((is_job && is_place(name)) || (w->instead != NULL && config_setting_get_member(w->instead, name) != NULL)) {
            continue;
        }
        r = strcmp(name, IN_ORDER) == 0 ? go_in_order(w, s) : go_option(w, s);
    }
    return r;
}

/* A job's source or destination, which means the same wherever haul is started. */
static int find_place(const struct jobfile *c, const config_setting_t *job, const char *name, FILE *errors,
                      const char **out)
{
    const config_setting_t *s = config_setting_get_member(job, name);
    const char *text = s != NULL ? config_setting_get_string(s) : NULL;
    if (s == NULL) {
        return wrong(c, job, errors, "the job '%s' has no %s", config_setting_name(job), name);
    }
    if (text == NULL || (text[0] != '/' && !url_is(text) && strcmp(text, "null:") != 0)) {
        return wrong(c, s, errors, "%s is not an absolute path%s", name,
                     strcmp(name, "source") == 0 ? "" : " or nfs://");
    }
    *out = text;
    return 0;
}

static config_setting_t *jobs_of(const struct jobfile *c)
{
    return config_lookup(&c->file, "jobs");
}

static int check_job(struct jobfile *c, const config_setting_t *job, FILE *errors)
{
    const struct walk w = {.config = c, .errors = errors};
    const char *place = NULL;
    if (!config_setting_is_group(job)) {
        return wrong(c, job, errors, "the job '%s' is not a group { ... }", config_setting_name(job));
    }
    int r = go_group(&w, job, true);
    if (r == 0) {
        r = find_place(c, job, "source", errors, &place);
    }
    return r == 0 ? find_place(c, job, "destination", errors, &place) : r;
}

/* Everything but the values. */
static int check(struct jobfile *c, FILE *errors)
{
    const config_setting_t *root = config_root_setting(&c->file);
    const struct walk w = {.config = c, .errors = errors};
    int r = 0;
    for (int i = 0; i < config_setting_length(root) && r == 0; i++) {
        const config_setting_t *s = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(s);
        bool is_jobs = strcmp(name, "jobs") == 0;
        if (!is_jobs && strcmp(name, "defaults") != 0) {
            return wrong(c, s, errors, "'%s' is neither 'defaults' nor 'jobs'", name);
        }
        if (!config_setting_is_group(s)) {
            return wrong(c, s, errors, "'%s' is not a group { ... }", name);
        }
        if (!is_jobs) {
            r = go_group(&w, s, false);
        }
        for (int k = 0; is_jobs && k < config_setting_length(s) && r == 0; k++) {
            r = check_job(c, config_setting_get_elem(s, (unsigned)k), errors);
        }
    }
    return r;
}

/* Opened, unless somebody could slip options to whoever runs haul. NULL with errno; EPERM: everybody may write it. */
static FILE *open_file(const char *path)
{
    struct stat st;
    FILE *in = fopen(path, "re");
    if (in != NULL && fstat(fileno(in), &st) == 0 && (S_ISDIR(st.st_mode) || (st.st_mode & S_IWOTH) != 0)) {
        (void)fclose(in);
        errno = S_ISDIR(st.st_mode) ? EISDIR : EPERM;
        return NULL;
    }
    return in;
}

static int parse(struct jobfile *c, const char *shown, FILE *errors)
{
    FILE *in = open_file(c->path);
    if (in == NULL) {
        int r = -errno;
        fprintf(errors, "haul: the configuration file '%s': %s\n", shown,
                r == -EPERM ? "everybody may write it" : err_text(r));
        return r;
    }
    int r = config_read(&c->file, in) == CONFIG_TRUE ? 0 : -EINVAL;
    (void)fclose(in);
    if (r != 0) {
        const char *file = config_error_file(&c->file);
        fprintf(errors, "haul: %s:%d: %s\n", file != NULL ? file : shown, config_error_line(&c->file),
                config_error_text(&c->file));
        return r;
    }
    return check(c, errors);
}

int jobfile_read(const char *path, FILE *errors, struct jobfile **out_jobfile)
{
    struct jobfile *c = calloc(1, sizeof *c);
    char *shown = name_show(path);
    int r = -ENOMEM;
    if (c != NULL) {
        config_init(&c->file);
        c->path = strdup(path);
        r = c->path != NULL && shown != NULL ? parse(c, shown, errors) : -ENOMEM;
    }
    free(shown);
    if (r != 0) {
        jobfile_destroy(c);
        return r;
    }
    *out_jobfile = c;
    return 0;
}

void jobfile_destroy(struct jobfile *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        free(c->texts[i]);
    }
    free(c->texts);
    config_destroy(&c->file);
    free(c->path);
    free(c);
}

/* There is no such job: those that there are. */
static int no_job(const struct jobfile *c, const char *job, FILE *errors)
{
    const config_setting_t *jobs = jobs_of(c);
    int count = jobs != NULL ? config_setting_length(jobs) : 0;
    char *path = name_show(c->path);
    char *name = name_show(job);
    fprintf(errors, "haul: %s has no job '%s'; there %s", path != NULL ? path : "?", name != NULL ? name : "?",
            count == 0 ? "is none" : "are");
    for (int i = 0; i < count; i++) {
        fprintf(errors, "%s %s", i > 0 ? "," : "", config_setting_name(config_setting_get_elem(jobs, (unsigned)i)));
    }
    fputc('\n', errors);
    free(name);
    free(path);
    return -EINVAL;
}

int jobfile_job(struct jobfile *c, const char *job, jobfile_take take, void *arg, FILE *errors, const char **out_source,
                const char **out_destination)
{
    config_setting_t *jobs = jobs_of(c);
    const config_setting_t *group = jobs != NULL ? config_setting_get_member(jobs, job) : NULL;
    const config_setting_t *defaults = config_lookup(&c->file, "defaults");
    struct walk w = {.config = c, .take = take, .arg = arg, .instead = group, .errors = errors};
    if (group == NULL) {
        return no_job(c, job, errors);
    }
    int r = defaults != NULL ? go_group(&w, defaults, false) : 0;
    w.instead = NULL;
    if (r == 0) {
        r = go_group(&w, group, true);
    }
    if (r == 0) {
        r = find_place(c, group, "source", errors, out_source);
    }
    return r == 0 ? find_place(c, group, "destination", errors, out_destination) : r;
}

int jobfile_list(const struct options *o, FILE *out, FILE *errors)
{
    struct jobfile *c = NULL;
    if (jobfile_read(o->config != NULL ? o->config : JOBFILE_DEFAULT, errors, &c) != 0) {
        return STATUS_USAGE;
    }
    const config_setting_t *jobs = jobs_of(c);
    int r = 0;
    for (int i = 0; jobs != NULL && i < config_setting_length(jobs) && r == 0; i++) {
        const config_setting_t *job = config_setting_get_elem(jobs, (unsigned)i);
        const char *source = "";
        const char *destination = "";
        r = find_place(c, job, "source", errors, &source);
        r = r == 0 ? find_place(c, job, "destination", errors, &destination) : r;
        if (r == 0 && o->json) {
            json_t *event = json_event("job");
            json_set_text(event, "name", config_setting_name(job));
            json_set_text(event, "source", source);
            json_set_text(event, "destination", destination);
            r = json_emit(event, out);
        } else if (r == 0) {
            char *from = name_show(source);
            char *to = name_show(destination);
            fprintf(out, "%s: %s -> %s\n", config_setting_name(job), from != NULL ? from : source,
                    to != NULL ? to : destination);
            free(from);
            free(to);
        }
    }
    jobfile_destroy(c);
    return r == 0 ? STATUS_OK : STATUS_CANNOT;
}
