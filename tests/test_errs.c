#include <criterion/criterion.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"

#define T ERR_TRANSIENT
#define P ERR_PERMANENT
#define F ERR_FATAL

/* What each errno means, said a second time: local, network, on the source (network). */
static const struct expected {
    int err;
    enum err_class local;
    enum err_class network;
    enum err_class source;
} expected[] = {
    {EAGAIN, T, T, T},       {EINTR, T, T, T},
    {ENOMEM, T, T, T},       {ENOBUFS, T, T, T},
    {ENFILE, T, T, T},       {EMFILE, T, T, T},
    {ESTALE, T, T, T},       {ETIMEDOUT, T, T, T},
    {EREMOTEIO, T, T, T},    {EIO, P, T, T},
    {EBUSY, P, T, T},        {ENOLCK, P, T, T},
    {EPIPE, P, T, T},        {ENETDOWN, P, T, T},
    {ENETUNREACH, P, T, T},  {ENETRESET, P, T, T},
    {EHOSTDOWN, P, T, T},    {EHOSTUNREACH, P, T, T},
    {ECONNABORTED, P, T, T}, {ECONNREFUSED, P, T, T},
    {ECONNRESET, P, T, T},   {ENOTCONN, P, T, T},
    {ESHUTDOWN, P, T, T},    {ECOMM, P, T, T},
    {ENOLINK, P, T, T},      {ETIME, P, T, T},
    {ENOSPC, F, F, P},       {EDQUOT, F, F, P},
    {EROFS, F, F, P},        {EOWNERDEAD, F, F, P},
    {ERR_OWNED, P, P, P},    {ECANCELED, ERR_CANCELLED, ERR_CANCELLED, ERR_CANCELLED},
    {ERR_CHANGED, P, P, P},  {ENOENT, P, P, ERR_VANISHED},
    {EACCES, P, P, P},       {EPERM, P, P, P},
    {ENAMETOOLONG, P, P, P}, {ELOOP, P, P, P},
    {EISDIR, P, P, P},       {ENOTDIR, P, P, P},
    {ENOTEMPTY, P, P, P},    {EEXIST, P, P, P},
    {EINVAL, P, P, P},       {EFBIG, P, P, P},
    {EOVERFLOW, P, P, P},    {EMLINK, P, P, P},
    {EXDEV, P, P, P},        {ENODEV, P, P, P},
    {ENXIO, P, P, P},        {ETXTBSY, P, P, P},
    {ENOSYS, P, P, P},       {EOPNOTSUPP, P, P, P},
    {EILSEQ, P, P, P},       {EBADF, P, P, P},
    {EBADMSG, P, P, P},      {EUCLEAN, P, P, P},
    {EPROTO, P, P, P},
};

#define EXPECTED (sizeof(expected) / sizeof(expected[0]))

Test(errs, each_row_has_its_class, .timeout = 10)
{
    cr_assert_eq(err_rows(), EXPECTED);
    for (unsigned i = 0; i < err_rows(); i++) {
        enum err_class local = ERR_NONE;
        enum err_class network = ERR_NONE;
        const int err = err_row(i, &local, &network);
        size_t at = 0;
        while (at < EXPECTED && expected[at].err != err) {
            at++;
        }
        cr_assert_lt(at, EXPECTED, "row %u: %s is not expected", i, err_name(err));
        cr_assert_eq(local, expected[at].local, "%s", err_name(err));
        cr_assert_eq(network, expected[at].network, "%s", err_name(err));
    }
    enum err_class class = ERR_NONE;
    cr_assert_eq(err_row(err_rows(), &class, &class), 0);
}

Test(errs, classify_by_place, .timeout = 10)
{
    for (size_t i = 0; i < EXPECTED; i++) {
        const struct expected *e = &expected[i];
        cr_assert_eq(err_classify(e->err, false, false), e->local, "%s local", err_name(e->err));
        cr_assert_eq(err_classify(-e->err, false, false), e->local, "-%s local", err_name(e->err));
        cr_assert_eq(err_classify(e->err, true, false), e->network, "%s network", err_name(e->err));
        cr_assert_eq(err_classify(-e->err, true, true), e->source, "%s source", err_name(e->err));
    }
    cr_assert_eq(err_classify(EIO, false, true), ERR_PERMANENT);
    cr_assert_eq(err_classify(ENOENT, false, true), ERR_VANISHED);
    cr_assert_eq(err_classify(0, true, true), ERR_NONE);
    cr_assert_eq(err_classify(4095, true, true), ERR_PERMANENT);
    cr_assert_eq(err_classify(INT_MIN, true, false), ERR_PERMANENT);
}

Test(errs, each_has_a_name_and_a_sentence, .timeout = 10)
{
    for (unsigned i = 0; i < err_rows(); i++) {
        enum err_class class = ERR_NONE;
        const int err = err_row(i, &class, &class);
        cr_assert_eq(err_name(err)[0], 'E');
        cr_assert_str_neq(err_name(err), "E?");
        cr_assert_gt(strlen(err_text(err)), 4);
        cr_assert_str_neq(err_text(err), "unknown error");
        cr_assert_eq(err_name(err), err_name(-err));
    }
    cr_assert_str_eq(err_name(ENOSPC), "ENOSPC");
    cr_assert_str_eq(err_name(-ERR_CHANGED), "ECHANGED");
    cr_assert_str_eq(err_name(0), "E?");
    cr_assert_str_eq(err_name(99999), "E?");
    cr_assert_str_eq(err_name(INT_MIN), "E?");
    cr_assert_str_eq(err_text(-ENOSPC), "No space left on device");
    cr_assert_str_eq(err_text(ERR_CHANGED), "the source changed while it was read");
    cr_assert_str_eq(err_text(99999), "unknown error");
}

Test(clock, time_stamps_saturate_and_compare, .timeout = 10)
{
    const struct timespec one = {.tv_sec = 1, .tv_nsec = 5};
    const struct timespec later = {.tv_sec = 1, .tv_nsec = 6};
    const struct timespec before = {.tv_sec = -1, .tv_nsec = 999999999};
    const struct timespec far = {.tv_sec = INT64_MAX, .tv_nsec = 999999999};
    const struct timespec long_ago = {.tv_sec = INT64_MIN, .tv_nsec = 0};
    const struct timespec edge = {.tv_sec = INT64_MAX / NS_PER_SEC, .tv_nsec = INT64_MAX % NS_PER_SEC};
    const struct timespec beyond = {.tv_sec = edge.tv_sec, .tv_nsec = edge.tv_nsec + 1};
    cr_assert_eq(clock_ns_of(&one), 1000000005);
    cr_assert_eq(clock_ns_of(&before), -1);
    cr_assert_eq(clock_ns_of(&far), INT64_MAX);
    cr_assert_eq(clock_ns_of(&long_ago), INT64_MIN);
    cr_assert_eq(clock_ns_of(&edge), INT64_MAX);
    cr_assert_eq(clock_ns_of(&beyond), INT64_MAX);
    cr_assert_lt(clock_cmp(&one, &later), 0);
    cr_assert_gt(clock_cmp(&later, &one), 0);
    cr_assert_eq(clock_cmp(&one, &one), 0);
    cr_assert_lt(clock_cmp(&long_ago, &before), 0);
    cr_assert_gt(clock_cmp(&far, &one), 0);
}

Test(clock, runs_forward, .timeout = 10)
{
    const int64_t start = clock_mono_ns();
    int64_t last = start;
    while (last - start < 2 * NS_PER_MS) {
        const int64_t now = clock_mono_ns();
        cr_assert_geq(now, last);
        last = now;
    }
    /* Nobody's clock stands before this was written. */
    cr_assert_gt(clock_real_ns(), 1700000000LL * NS_PER_SEC);
}

Test(errs, silence_is_no_answer)
{
    static const int silent[] = {ETIMEDOUT, ECONNREFUSED, ECONNRESET, EPIPE, EHOSTUNREACH};
    static const int answers[] = {0, EIO, ENOENT, ENOSPC, ESTALE, EACCES, EAGAIN, ECANCELED, ENOLINK, EREMOTEIO};

    for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++) {
        cr_assert(err_is_silence(silent[i]) && err_is_silence(-silent[i]), "%d", silent[i]);
    }
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        cr_assert(!err_is_silence(answers[i]), "%d", answers[i]);
    }
}
