/*
 * tune: a careful climb towards the smallest limit with nearly the best throughput.
 */
#include <string.h>

#include "workers/tune.h"

#define BUSY        0.75 /* of the processors: more in flight cannot help */
#define STAY_FIRST  2U   /* intervals before the first try */
#define HOLD_MIN    4U   /* intervals between tries at first */
#define HOLD_MAX    64U  /* and at last */
#define TRY_MAX     5U   /* intervals after which a try is decided */
#define SETTLE_MAX  8U   /* intervals to wait at most for what was in flight before */
#define SMALL_STEP  1.25 /* ratio of limits */
#define BIG_STEP    2.0
#define GAIN        1.09 /* ratio of rates from which on a bigger limit is worth it */
#define LOSS        0.91 /* ratio of rates down to which a smaller limit costs nothing */
#define LEAVE_GAIN  1.30 /* GAIN where one for each worker is left: plain system calls cost the least by far */
#define RETURN_LOSS 0.80 /* LOSS where it is gone back to */
#define DOUBT       0.14 /* how far a single interval may be off, as a share */
#define BASE_WEIGHT 0.25 /* of a new interval in base_rate */
#define OFF_SHARE   0.30 /* a rate that is off by that much, */
#define OFF_MAX     3U   /* that many times in a row, is another world */

void tune_init(struct tune *t, unsigned start, unsigned min, unsigned max, bool pinned)
{
    memset(t, 0, sizeof(*t));
    t->limit = start;
    t->min = min;
    t->max = max;
    t->pinned = pinned;
    t->local = start == min;
    t->base = start;
    t->hold = STAY_FIRST;
    t->hold_next = HOLD_MIN;
    t->fast = true;
}

/* Goes to another limit; what is measured from now on belongs to it. */
static void go(struct tune *t, unsigned limit, enum tune_phase phase, double interval)
{
    /* What is in flight takes about limit / rate (Little's law): until then the rate is partly that of the limit
     * before. */
    double latency = t->base_rate > 0 ? (limit > t->limit ? limit : t->limit) / t->base_rate : interval;
    double wait = 2 * latency / interval;
    t->settle = wait < 0.2 ? 0 : wait > SETTLE_MAX ? SETTLE_MAX : (unsigned)(wait + 1);
    t->limit = limit;
    t->phase = phase;
    t->work = 0;
    t->seconds = 0;
    t->intervals = 0;
    t->off = 0;
}

static unsigned bigger(const struct tune *t)
{
    double want = t->base * (t->fast ? BIG_STEP : SMALL_STEP);
    unsigned limit = want >= t->max ? t->max : (unsigned)want;
    return limit > t->base || t->base >= t->max ? limit : t->base + 1;
}

static unsigned smaller(const struct tune *t)
{
    double want = t->base / (t->fast ? BIG_STEP : SMALL_STEP);
    unsigned limit = want <= t->min ? t->min : (unsigned)want;
    return limit < t->base || t->base <= t->min ? limit : t->base - 1;
}

/* At base, and the hold is over. */
static void begin_try(struct tune *t, const struct tune_sample *s)
{
    bool can_up = t->base < t->max && s->busy <= BUSY;
    bool can_down = t->base > t->min;
    if (!can_up && !can_down) {
        return;
    }
    if (t->local && can_down && s->busy > BUSY) {
        /* The processors are the limit: what spares them is tried at once. */
        go(t, t->min, TUNE_DOWN, s->seconds);
        return;
    }
    if (can_up && !(can_down && t->down_next)) {
        go(t, bigger(t), TUNE_UP, s->seconds);
    } else {
        go(t, smaller(t), TUNE_DOWN, s->seconds);
    }
}

/* The rate is not what it was at this limit: what was learnt is worth nothing any more. */
static void begin_anew(struct tune *t, double rate)
{
    t->down_next = rate < t->base_rate;
    t->base_rate = rate;
    t->base_known = 1;
    t->hold = STAY_FIRST;
    t->hold_next = HOLD_MIN;
    t->fast = true;
    t->off = 0;
}

static void stay(struct tune *t, const struct tune_sample *s)
{
    double rate = s->work / s->seconds;
    if (t->base_known == 0) {
        t->base_rate = rate;
        t->base_known = 1;
    } else if (rate > t->base_rate * (1 + OFF_SHARE) || rate < t->base_rate * (1 - OFF_SHARE)) {
        t->off++;
        if (t->off >= OFF_MAX) {
            begin_anew(t, rate);
        }
        return;
    } else {
        /* A plain mean at first, so that the very first interval does not weigh more than others. */
        t->base_known++;
        double weight = 1.0 / t->base_known;
        t->base_rate += (weight > BASE_WEIGHT ? weight : BASE_WEIGHT) * (rate - t->base_rate);
        t->off = 0;
    }
    if (t->hold > 0) {
        t->hold--;
    }
    if (t->hold == 0 && t->base_rate > 0) {
        begin_try(t, s);
    }
}

static void accept_try(struct tune *t, double rate, double interval)
{
    bool down = t->phase == TUNE_DOWN;
    t->base = t->limit;
    t->base_rate = rate;
    t->base_known = t->intervals;
    t->hold_next = HOLD_MIN;
    t->down_next = down;
    t->hold = 1;
    go(t, t->base, TUNE_STAY, interval);
    t->settle = 0;
}

static void reject_try(struct tune *t, double interval)
{
    bool down = t->phase == TUNE_DOWN;
    /* Halving that went too far is followed by small steps down, doubling that brought nothing by small ones up. */
    t->down_next = t->fast ? down : !down;
    t->hold = t->fast ? 1 : t->hold_next;
    if (!t->fast) {
        t->hold_next = t->hold_next * 2 > HOLD_MAX ? HOLD_MAX : t->hold_next * 2;
    }
    t->fast = false;
    go(t, t->base, TUNE_STAY, interval);
}

/* One more interval of a try. The fewer there are, the clearer the answer must be. */
static void judge(struct tune *t, const struct tune_sample *s)
{
    t->work += s->work;
    t->seconds += s->seconds;
    t->intervals++;
    double rate = t->work / t->seconds;
    double ratio = rate / t->base_rate;
    bool border = t->local && (t->base == t->min || t->limit == t->min);
    double wanted = t->phase == TUNE_UP ? (border ? LEAVE_GAIN : GAIN) : (border ? RETURN_LOSS : LOSS);
    double doubt = t->intervals >= TRY_MAX ? 0 : DOUBT / t->intervals;
    if (ratio >= wanted + doubt) {
        accept_try(t, rate, s->seconds);
    } else if (ratio < wanted - doubt || t->intervals >= TRY_MAX) {
        reject_try(t, s->seconds);
    }
}

unsigned tune_step(struct tune *t, const struct tune_sample *sample)
{
    if (t->pinned || sample->starved || sample->seconds <= 0) {
        return t->limit;
    }
    if (t->settle > 0) {
        t->settle--;
    } else if (t->phase == TUNE_STAY) {
        stay(t, sample);
    } else {
        judge(t, sample);
    }
    return t->limit;
}
