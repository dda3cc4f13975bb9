/* options.c - walks a command line along an option table. Prints complaints and help, decides nothing else. */
#include "options.h"

#include <string.h>

static const char *kind_example(roam_opt_kind kind) {
  switch (kind) {
    case ROAM_OPT_UINT: return "a whole number such as 10";
    case ROAM_OPT_DURATION: return "a duration such as 20ms, 5s or 2m";
    case ROAM_OPT_SECONDS: return "seconds such as 5, or a duration such as 500ms";
    case ROAM_OPT_ADDRESS: return "an address such as 127.0.0.1:1883 or [::1]:1883";
    case ROAM_OPT_BYTES: return "a size such as 512, 64k or 1M";
    case ROAM_OPT_RATE: return "bytes per second such as 50k or 1M, or bits such as 10Mbit";
    case ROAM_OPT_PPM: return "a share such as 1%, 0.5% or 250ppm";
    default: return "a value";
  }
}

static bool takes_value(const roam_opt *o) {
  return o->kind != ROAM_OPT_FLAG && o->kind != ROAM_OPT_HEADING && o->kind != ROAM_OPT_LATER;
}

/* "--delay", or "-q" for an option that has only a letter. */
static const char *shown_name(const roam_opt *o, char text[64]) {
  if (o->name) snprintf(text, 64, "--%s", o->name);
  else snprintf(text, 64, "-%c", o->letter);
  return text;
}

/* Damerau would be nicer; for option names of a dozen letters plain edit distance finds the same ones. */
static size_t edit_distance(const char *a, const char *b) {
  size_t row[64], n = strlen(b);
  if (n >= 64) return 64;
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 1; *a; i++, a++) {
    size_t corner = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t best = corner + (*a != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      corner = row[j];
      row[j] = best;
    }
  }
  return row[n];
}

static const roam_opt *find_name(const roam_opts *opts, const char *name, size_t len) {
  for (size_t i = 0; i < opts->len; i++) {
    const char *known = opts->at[i].name;
    if (opts->at[i].kind != ROAM_OPT_HEADING && known && strlen(known) == len && memcmp(known, name, len) == 0)
      return &opts->at[i];
  }
  return NULL;
}

static const roam_opt *find_letter(const roam_opts *opts, char letter) {
  for (size_t i = 0; i < opts->len; i++)
    if (opts->at[i].kind != ROAM_OPT_HEADING && opts->at[i].letter == letter) return &opts->at[i];
  return NULL;
}

static int complain_unknown(const roam_opts *opts, const char *name) {
  const char *nearest = NULL;
  size_t least = 4;
  for (size_t i = 0; i < opts->len; i++) {
    if (!opts->at[i].name || !opts->at[i].help) continue;
    size_t distance = edit_distance(name, opts->at[i].name);
    if (distance < least) {
      least = distance;
      nearest = opts->at[i].name;
    }
  }
  if (nearest) return roam_tool_usage(opts->command, "unknown option --%s; did you mean --%s?", name, nearest);
  return roam_tool_usage(opts->command, "unknown option --%s", name);
}

static bool read_seconds(const char *text, uint64_t *ns) {
  uint64_t seconds;
  if (!roam_text_uint(text, &seconds)) return roam_text_duration(text, ns);
  return !__builtin_mul_overflow(seconds, ROAM_S, ns);
}

static bool read_never(const roam_opt *o, const char *value, uint64_t *out) {
  if (o->kind != ROAM_OPT_DURATION || o->min != ROAM_NEVER || strcmp(value, "never") != 0) return false;
  *out = ROAM_NEVER;
  return true;
}

static bool read_number(const roam_opt *o, const char *value, uint64_t *out) {
  uint32_t ppm;
  switch (o->kind) {
    case ROAM_OPT_UINT: return roam_text_uint(value, out);
    case ROAM_OPT_DURATION: return roam_text_duration(value, out);
    case ROAM_OPT_SECONDS: return read_seconds(value, out);
    case ROAM_OPT_BYTES: return roam_text_bytes(value, out);
    case ROAM_OPT_RATE: return roam_text_rate(value, out);
    case ROAM_OPT_PPM:
      if (!roam_text_ppm(value, &ppm)) return false;
      *out = ppm;
      return true;
    default: return false;
  }
}

static int complain_value(const roam_opts *opts, const roam_opt *o, const char *value) {
  char name[64];
  const char *never = o->kind == ROAM_OPT_DURATION && o->min == ROAM_NEVER ? ", or never" : "";
  return roam_tool_usage(opts->command, "%s: expected %s%s, got '%s'", shown_name(o, name), kind_example(o->kind), never,
                         value);
}

static int complain_range(const roam_opts *opts, const roam_opt *o, const char *value) {
  char name[64];
  const char *unit = o->kind == ROAM_OPT_DURATION || o->kind == ROAM_OPT_SECONDS ? " ns" : "";
  if (!o->max) {
    return roam_tool_usage(opts->command, "%s: at least %llu%s, got '%s'", shown_name(o, name), (unsigned long long)o->min,
                           unit, value);
  }
  return roam_tool_usage(opts->command, "%s: between %llu and %llu%s, got '%s'", shown_name(o, name),
                         (unsigned long long)o->min, (unsigned long long)o->max, unit, value);
}

static int store_number(const roam_opts *opts, const roam_opt *o, const char *value) {
  uint64_t number, min = o->min == ROAM_NEVER ? 0 : o->min;
  if (read_never(o, value, &number)) {
    *(uint64_t *)o->to = number;
    return 0;
  }
  if (!read_number(o, value, &number)) return complain_value(opts, o, value);
  if (number < min || (o->max && number > o->max)) return complain_range(opts, o, value);
  if (o->kind == ROAM_OPT_PPM) *(uint32_t *)o->to = (uint32_t)number;
  else *(uint64_t *)o->to = number;
  return 0;
}

static int store_item(const roam_opts *opts, const roam_opt *o, const char *value) {
  roam_opt_list *list = o->to;
  char name[64];
  if (list->len == ROAM_OPT_LIST_MAX) {
    return roam_tool_usage(opts->command, "%s: given more than %d times", shown_name(o, name), ROAM_OPT_LIST_MAX);
  }
  list->at[list->len++] = value;
  return 0;
}

static int store(const roam_opts *opts, const roam_opt *o, const char *value) {
  char name[64];
  switch (o->kind) {
    case ROAM_OPT_FLAG: *(bool *)o->to = true; return 0;
    case ROAM_OPT_STRING: *(const char **)o->to = value; return 0;
    case ROAM_OPT_LIST: return store_item(opts, o, value);
    case ROAM_OPT_LATER:
      return roam_tool_usage(opts->command, "%s comes with a later version; leave it out", shown_name(o, name));
    case ROAM_OPT_ADDRESS: return roam_text_addr(value, o->to) ? 0 : complain_value(opts, o, value);
    default: return store_number(opts, o, value);
  }
}

static const char *default_text(const roam_opt *o, char text[48]) {
  static const struct {
    uint64_t ns;
    const char *unit;
  } spans[] = {{3600 * ROAM_S, "h"}, {60 * ROAM_S, "m"}, {ROAM_S, "s"}, {ROAM_MS, "ms"}, {1, "ns"}};
  text[0] = 0;
  if (!o->tells) return text;
  uint64_t value = *(const uint64_t *)o->to;
  const char *unit = "";
  if (o->kind == ROAM_OPT_BYTES)
    for (; value >= 1024 && value % 1024 == 0 && *unit != 'G'; value /= 1024)
      unit = !*unit ? "k" : *unit == 'k' ? "M" : "G";
  for (size_t i = 0; o->kind == ROAM_OPT_DURATION && value > 0 && !*unit; i++)
    if (value % spans[i].ns == 0) value /= spans[i].ns, unit = spans[i].unit;
  snprintf(text, 48, " (%llu%s)", (unsigned long long)value, unit);
  return text;
}

static void print_option(const roam_opt *o) {
  char left[80], tail[48];
  if (o->kind == ROAM_OPT_HEADING) {
    printf("\n%s:\n", o->help);
    return;
  }
  if (!o->help || o->kind == ROAM_OPT_LATER) return;
  int used = snprintf(left, sizeof left, "  %c%c%s%s%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                      o->name ? (o->letter ? ", " : "  ") : "", o->name ? "--" : "", o->name ? o->name : "",
                      o->argument ? " " : "", o->argument ? o->argument : "");
  default_text(o, tail);
  if (used > 29) printf("%s\n%30s%s%s\n", left, "", o->help, tail);
  else printf("%-30s%s%s\n", left, o->help, tail);
}

static void print_help(const roam_opts *opts) {
  printf("Usage: roamqtt %s %s\n%s\n", opts->command, opts->synopsis, opts->about);
  if (opts->len && opts->at[0].kind != ROAM_OPT_HEADING) printf("\nOptions:\n");
  for (size_t i = 0; i < opts->len; i++) print_option(&opts->at[i]);
  if (opts->epilogue) printf("\n%s\n", opts->epilogue);
}

struct walk {
  const roam_opts *opts;
  int argc;
  char **argv;
  int next; /* the next word to read */
  int rest; /* operands kept so far */
};

static int need_value(const struct walk *w, const roam_opt *o) {
  char name[64];
  return roam_tool_usage(w->opts->command, "%s: expected %s behind it", shown_name(o, name), kind_example(o->kind));
}

/* "--name", "--name value", "--name=value" */
static int read_long(struct walk *w, const char *word) {
  const char *equals = strchr(word, '=');
  size_t len = equals ? (size_t)(equals - word) : strlen(word);
  const roam_opt *o = find_name(w->opts, word, len);
  if (!o) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(len < 60 ? len : 60), word);
    return complain_unknown(w->opts, name);
  }
  if (!takes_value(o)) {
    if (equals && o->kind == ROAM_OPT_FLAG) return roam_tool_usage(w->opts->command, "--%s: takes no value", o->name);
    return store(w->opts, o, NULL);
  }
  if (equals) return store(w->opts, o, equals + 1);
  if (w->next == w->argc) return need_value(w, o);
  return store(w->opts, o, w->argv[w->next++]);
}

/* "-d", "-dv", "-q 1", "-q1" */
static int read_letters(struct walk *w, const char *letters) {
  for (; *letters; letters++) {
    const roam_opt *o = find_letter(w->opts, *letters);
    if (!o) return roam_tool_usage(w->opts->command, "unknown option -%c", *letters);
    if (takes_value(o)) {
      if (letters[1]) return store(w->opts, o, letters + 1);
      if (w->next == w->argc) return need_value(w, o);
      return store(w->opts, o, w->argv[w->next++]);
    }
    int code = store(w->opts, o, NULL);
    if (code) return code;
  }
  return 0;
}

bool roam_opts_read(const roam_opts *opts, int argc, char **argv, int *rest, int *code) {
  struct walk w = {.opts = opts, .argc = argc, .argv = argv, .next = 1, .rest = 1};
  bool only_operands = false;
  *code = 0;
  while (w.next < argc) {
    char *word = argv[w.next++];
    if (only_operands || word[0] != '-' || !word[1]) {
      argv[w.rest++] = word;
    } else if (strcmp(word, "--") == 0) {
      only_operands = true;
    } else if (strcmp(word, "--help") == 0) {
      print_help(opts);
      return false;
    } else {
      *code = word[1] == '-' ? read_long(&w, word + 2) : read_letters(&w, word + 1);
      if (*code) return false;
    }
  }
  *rest = w.rest;
  return true;
}

/* ---- from elsewhere -------------------------------------------------------------------------------------------------- */

static size_t with_dashes(const char *name, size_t len, char out[64]) {
  if (len > 63) len = 63;
  for (size_t i = 0; i < len; i++) out[i] = name[i] == '_' ? '-' : name[i];
  out[len] = 0;
  return len;
}

static int set_flag(const roam_opts *opts, const roam_opt *o, const char *value) {
  static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};
  bool is = !value || !*value;
  for (size_t i = 0; value && i < 4; i++) {
    is |= strcmp(value, yes[i]) == 0;
    if (strcmp(value, no[i]) != 0) continue;
    *(bool *)o->to = false;
    return 0;
  }
  if (!is) return roam_tool_usage(opts->command, "--%s: expected yes or no, got '%s'", o->name, value);
  *(bool *)o->to = true;
  return 0;
}

int roam_opts_set(const roam_opts *opts, const char *name, const char *value) {
  char plain[64];
  const roam_opt *o = find_name(opts, plain, with_dashes(name, strlen(name), plain));
  if (!o) return complain_unknown(opts, plain);
  if (o->kind == ROAM_OPT_FLAG) return set_flag(opts, o, value);
  if (takes_value(o) && (!value || !*value)) {
    char shown[64];
    return roam_tool_usage(opts->command, "%s: expected %s", shown_name(o, shown), kind_example(o->kind));
  }
  return store(opts, o, value);
}

const roam_opt *roam_opts_named(const roam_opts *opts, const char *sentence) {
  char plain[64];
  if (strncmp(sentence, "--", 2) == 0) sentence += 2;
  return find_name(opts, plain, with_dashes(sentence, strcspn(sentence, " :."), plain));
}
