#include "cleanup/finding.h"

#include <errno.h>
#include <string.h>

static const char *const kinds[FINDING_KINDS] = {
    [FINDING_NONE] = "none",
    [FINDING_CORRUPT] = "corrupt",
    [FINDING_EMPTY] = "empty",
    [FINDING_DIFFERS] = "differs",
    [FINDING_TIMES] = "times",
    [FINDING_TEMP] = "temp",
    [FINDING_UNREADABLE] = "unreadable",
    [FINDING_CONTENTS] = "contents",
    [FINDING_MISSING] = "missing",
    [FINDING_EXTRA] = "extra",
    [FINDING_REPLACED] = "replaced",
};

const char *finding_kind_name(enum finding_kind kind)
{
    return (unsigned)kind < FINDING_KINDS ? kinds[kind] : "?";
}

const char *finding_sure_name(enum finding_sure sure)
{
    static const char *const names[FINDING_SURES] = {
        [SURE_CERTAIN] = "certain", [SURE_LIKELY] = "likely", [SURE_SUSPECTED] = "suspected"};
    return (unsigned)sure < FINDING_SURES ? names[sure] : "?";
}

const char *finding_action_name(enum finding_action action)
{
    static const char *const names[FINDING_ACTIONS] = {
        [ACTION_NONE] = "found",  [ACTION_MENDED] = "mended", [ACTION_REMOVED] = "removed",
        [ACTION_MOVED] = "moved", [ACTION_LEFT] = "left",     [ACTION_FAILED] = "failed"};
    return (unsigned)action < FINDING_ACTIONS ? names[action] : "?";
}

int finding_kind_parse(const char *name, size_t len, enum finding_kind *out_kind)
{
    for (int kind = FINDING_NONE + 1; kind < FINDING_KINDS; kind++) {
        if (strlen(kinds[kind]) == len && memcmp(kinds[kind], name, len) == 0) {
            *out_kind = (enum finding_kind)kind;
            return 0;
        }
    }
    return -EINVAL;
}

bool finding_is_open(enum finding_action action)
{
    return action == ACTION_NONE || action == ACTION_LEFT || action == ACTION_FAILED;
}
