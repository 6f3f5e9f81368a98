/* Results for reading: tables, JSON, JSON lines and templates (--format of every list command). */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/json.h"
#include "base/sb.h"

struct table_col {
        const char *head;  /* "IMAGE ID" */
        const char *field; /* member of a row, and the name in templates */
        unsigned cut;      /* longest cell unless no_trunc; 0: no limit */
};

struct table {
        const struct table_col *cols;
        size_t ncols;
        const char *format; /* NULL or "table", "json", "jsonl", "table TEMPLATE", TEMPLATE */
        bool no_trunc;
};

/* raw: array of objects as the library gave them (for json and jsonl). rows: array of objects made
 * for people, with the templates' field names, same order. Written to stdout. USAGE: bad format. */
int table_print(const struct table *t, const struct js *raw, const struct js *rows,
                struct bld_err *err) MUST_CHECK;
/* One object, or a list printed as one JSON document: json (the default), jsonl or a template. */
int table_print_one(const struct js *j, const char *format, struct bld_err *err) MUST_CHECK;

/* "3 days ago" of an RFC 3339 time, and the time itself in the local zone. "" when it is none. */
void since_text(const char *rfc3339, char out[40]);
void local_time_text(const char *rfc3339, char out[64]);
/* 12 digits of a digest, or all of it. */
void short_digest(const char *digest, bool no_trunc, char out[160]);

/* Parse what a library call answered; frees text. */
int take_json(char *text, struct js **ret, struct bld_err *err) MUST_CHECK;

#endif
