/* options.h - the one option table: from it come the parsing of a command line, --help and the complaints about bad values.
 *
 * A command fills an array of roam_opt whose `to` point at its own variables (holding the defaults), and calls
 * roam_opts_read. */
#ifndef ROAM_OPTIONS_H
#define ROAM_OPTIONS_H

#include "tool.h"

typedef enum roam_opt_kind {
  ROAM_OPT_HEADING,  /* help is a line of its own in --help; nothing else counts */
  ROAM_OPT_FLAG,     /* bool */
  ROAM_OPT_STRING,   /* const char *; points into argv */
  ROAM_OPT_LIST,     /* roam_opt_list; may be given again and again */
  ROAM_OPT_UINT,     /* uint64_t within [min, max]; max 0 = no bound */
  ROAM_OPT_DURATION, /* uint64_t ns: 20ms, 5s, 2m, 1h, 300us; "never" (ROAM_NEVER) where min is ROAM_NEVER */
  ROAM_OPT_SECONDS,  /* the same, but a bare number is seconds, as in mosquitto's -W and -k */
  ROAM_OPT_ADDRESS,  /* roam_addr: 127.0.0.1:1883, [::1]:1883, 127.0.0.1, :1883 (loopback) */
  ROAM_OPT_BYTES,    /* uint64_t: 512, 1k, 2M, 1G (powers of 1024) */
  ROAM_OPT_RATE,     /* uint64_t bytes per second: 50k, 2M; 10Mbit, 500kbit (powers of 1000, eighths) */
  ROAM_OPT_PPM,      /* uint32_t parts per million: 1%, 0.5%, 250ppm */
  ROAM_OPT_LATER     /* a name kept for a later version: refused in so many words */
} roam_opt_kind;

#define ROAM_OPT_LIST_MAX 256

typedef struct roam_opt_list {
  const char *at[ROAM_OPT_LIST_MAX];
  size_t len;
} roam_opt_list;

typedef struct roam_opt {
  const char *name; /* without dashes; NULL: only the letter */
  char letter;      /* 0: only the name */
  roam_opt_kind kind;
  const char *argument; /* what --help calls the value: "ADDR" */
  const char *help;     /* one line, with the default; NULL: a second spelling that --help leaves out */
  void *to;
  uint64_t min, max; /* UINT, DURATION, BYTES, RATE, PPM; max 0 = no bound */
  bool tells;        /* --help says what *to holds when it is asked: the default */
} roam_opt;

typedef struct roam_opts {
  const char *command;  /* "nat" */
  const char *synopsis; /* "[options] [URL]" */
  const char *about;    /* a sentence or two */
  const char *epilogue; /* examples and the like behind the options; or NULL */
  const roam_opt *at;
  size_t len;
} roam_opts;

/* Reads argv[1..]. True: go on; argv[1..*rest] are what is left (operands, in order). False: return *code (0 after --help
 * or -?, ROAM_EXIT_USAGE after a complaint, which has been printed). --help is known to every table. */
bool roam_opts_read(const roam_opts *opts, int argc, char **argv, int *rest, int *code);

/* Sets one option from elsewhere than a command line, such as a line of a file: its name without dashes in front, "_" as
 * good as "-". value: NULL when there is none; flags take yes and no too. 0 or ROAM_EXIT_USAGE, said. */
int roam_opts_set(const roam_opts *opts, const char *name, const char *value);
/* The option that a sentence begins with ("connections_max is 0: ..."), or NULL. */
const roam_opt *roam_opts_named(const roam_opts *opts, const char *sentence);

/* The readers of single values, for operands and line protocols. False: not one. */
bool roam_text_uint(const char *text, uint64_t *out);
bool roam_text_duration(const char *text, uint64_t *ns);
bool roam_text_bytes(const char *text, uint64_t *bytes);
bool roam_text_rate(const char *text, uint64_t *bytes_s);
bool roam_text_ppm(const char *text, uint32_t *ppm);
bool roam_text_addr(const char *text, roam_addr *addr);

#endif
