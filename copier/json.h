/*
 * json: one event a line (jansson).
 */
#ifndef HAUL_COPIER_JSON_H
#define HAUL_COPIER_JSON_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* Sets key to text; bytes that are not UTF-8 become escaped as name_show() does, and key_hex holds them exactly. */
void json_set_text(json_t *object, const char *key, const char *text);
void json_set_number(json_t *object, const char *key, uint64_t value);

/* An object with "event" and "time" (ISO 8601, UTC). */
json_t *json_event(const char *event);

/* Writes it as one line, flushed, and lets go of it. 0, or -EIO where the output fails. NULL object: -ENOMEM. */
int json_emit(json_t *object, FILE *out);

#endif
