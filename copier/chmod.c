#include "copier/chmod.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ALL_BITS 07777

/* --- parsing --- */

/* D, F and the classes before the operator; the text behind them, or NULL. */
static const char *parse_who(const char *s, struct chmod_item *item)
{
    for (;; s++) {
        switch (*s) {
        case 'D':
            item->dirs_only = true;
            break;
        case 'F':
            item->files_only = true;
            break;
        case 'u':
            item->who |= S_IXUSR;
            item->cleared |= S_ISUID;
            break;
        case 'g':
            item->who |= S_IXGRP;
            item->cleared |= S_ISGID;
            break;
        case 'o':
            item->who |= S_IXOTH;
            break;
        case 'a':
            item->who |= S_IXUSR | S_IXGRP | S_IXOTH;
            item->cleared |= S_ISUID | S_ISGID;
            break;
        default:
            return item->dirs_only && item->files_only ? NULL : s;
        }
    }
}

static const char *parse_octal(const char *s, struct chmod_item *item)
{
    item->op = CHMOD_OCTAL;
    for (; *s >= '0' && *s <= '7'; s++) {
        item->perms = item->perms * 8 + (mode_t)(*s - '0');
        if (item->perms > ALL_BITS) {
            return NULL;
        }
    }
    return s;
}

/* A class whose bits are taken: nothing else may stand beside it. */
static const char *parse_copy(const char *s, struct chmod_item *item)
{
    item->copy = *s == 'u' ? S_IXUSR : *s == 'g' ? S_IXGRP : S_IXOTH;
    /* All special bits of the classes that are set anew go. */
    item->cleared |= (item->who & S_IXOTH) != 0 ? S_ISVTX : 0;
    item->cleared |= item->masked ? S_ISUID | S_ISGID | S_ISVTX : 0;
    return s + 1;
}

static const char *parse_perms(const char *s, struct chmod_item *item)
{
    for (;; s++) {
        switch (*s) {
        case 'r':
            item->perms |= 4;
            break;
        case 'w':
            item->perms |= 2;
            break;
        case 'X':
            item->keep_x = true;
            item->perms |= 1;
            break;
        case 'x':
            item->perms |= 1;
            break;
        case 's':
            item->special |= item->cleared != 0 ? item->cleared : (mode_t)S_ISUID;
            break;
        case 't':
            item->special |= S_ISVTX;
            break;
        default:
            return s;
        }
    }
}

/* The text behind the item, or NULL. */
static const char *parse_item(const char *s, struct chmod_item *item)
{
    *item = (struct chmod_item){0};
    s = parse_who(s, item);
    if (s == NULL) {
        return NULL;
    }
    if (*s >= '0' && *s <= '7' && item->who == 0) {
        return parse_octal(s, item);
    }
    if (*s == '\0' || strchr("+-=", *s) == NULL) {
        return NULL;
    }
    item->op = *s == '+' ? CHMOD_ADD : *s == '-' ? CHMOD_TAKE : CHMOD_EQUAL;
    item->masked = item->who == 0;
    item->who = item->masked ? S_IXUSR | S_IXGRP | S_IXOTH : item->who;
    s++;
    if (*s == 'u' || *s == 'g' || *s == 'o') {
        return parse_copy(s, item);
    }
    s = parse_perms(s, item);
    if (item->special == 0) {
        item->cleared = 0; /* they go only where others are named */
    }
    return s;
}

int chmod_parse(const char *text, struct chmod_list *list)
{
    size_t before = list->count;
    for (const char *s = text;; s++) {
        struct chmod_item item;
        s = parse_item(s, &item);
        if (s == NULL || (*s != '\0' && *s != ',')) {
            list->count = before;
            return -EINVAL;
        }
        struct chmod_item *grown = reallocarray(list->items, list->count + 1, sizeof *grown);
        if (grown == NULL) {
            list->count = before;
            return -ENOMEM;
        }
        list->items = grown;
        list->items[list->count++] = item;
        if (*s == '\0') {
            return 0;
        }
    }
}

void chmod_release(struct chmod_list *list)
{
    free(list->items);
    *list = (struct chmod_list){0};
}

/* --- applying --- */

/* 0..7 of the class. */
static mode_t class_bits(mode_t mode, mode_t class)
{
    return (mode / class) & 7;
}

static mode_t item_bits(const struct chmod_item *item, mode_t mode, mode_t mask, bool may_execute)
{
    mode_t bits = item->who * (item->copy != 0 ? class_bits(mode, item->copy) : item->perms);
    if (item->masked) {
        bits &= ~mask;
    }
    bits |= item->special;
    return item->keep_x && !may_execute ? bits & ~(mode_t)0111 : bits;
}

mode_t chmod_apply(const struct chmod_list *list, mode_t mode, mode_t mask)
{
    mode_t type = mode & ~(mode_t)ALL_BITS;
    bool dir = S_ISDIR(mode);
    bool may_execute = dir || (mode & 0111) != 0;

    if (S_ISLNK(mode)) {
        return mode;
    }
    mode &= ALL_BITS;
    for (size_t i = 0; i < list->count; i++) {
        const struct chmod_item *item = &list->items[i];
        if ((item->dirs_only && !dir) || (item->files_only && dir)) {
            continue;
        }
        switch (item->op) {
        case CHMOD_OCTAL:
            mode = item->perms;
            break;
        case CHMOD_ADD:
            mode |= item_bits(item, mode, mask, may_execute);
            break;
        case CHMOD_TAKE:
            mode &= ~item_bits(item, mode, mask, true);
            break;
        case CHMOD_EQUAL:
            mode = (mode & ~(item->who * 7 | item->cleared)) | item_bits(item, mode, mask, may_execute);
            break;
        }
    }
    return type | mode;
}
