/*
 * state_intents: what is about to be published. It stands in a small table of its own until it is recorded: in the rows
 * of files, which lie scattered, each of two transactions would write a page for it. Readers add it to what a row says
 * (STATE_FLAGS); what nobody has recorded by the end of the run, or by the next opening where the run was killed, goes
 * into the rows, and takes the summaries of its directories along, which do not tell.
 */
#include "copier/state_internal.h"

int state_intents_apply(sqlite3 *db)
{
    return state_db_run(db, "INSERT INTO files(dir, name, flags, epoch, mode, uid, gid, dev, ino, size, mtime, ctime,"
                            " dst_ino, dst_ctime) SELECT dir, name, " FILE_INTENDED
                            ", epoch, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM intents WHERE true"
                            " ON CONFLICT(dir, name) DO UPDATE SET flags=flags|" FILE_INTENDED ";"
                            "DELETE FROM summaries WHERE dir IN (SELECT dir FROM intents);"
                            "DELETE FROM intents;");
}

int state_intents_settle(sqlite3 *db, bool *out_some)
{
    int64_t some = 0;
    int err = state_db_query(db, "SELECT count(*) FROM sqlite_master WHERE type='table' AND name='intents'", &some, 1);
    if (err == 0 && some != 0) { /* older databases have none */
        err = state_db_query(db, "SELECT EXISTS(SELECT 1 FROM intents)", &some, 1);
    }
    if (err == 0 && some != 0) {
        err = state_db_begin(db);
        err = err != 0 ? err : state_db_end(db, state_intents_apply(db));
    }
    if (err == 0) {
        *out_some = some != 0;
    }
    return err;
}
