/* config_fuzz.c - the broker's configuration file: lines, quotes, names and every kind of value, against a table with one
 * option of each kind and the table of the broker's limits. Whatever is taken stands within its bounds. Compiled with the
 * tools' own sources; what they say to people goes nowhere. */
#include "fuzz.h"

#include "broker_limits.h"
#include "config.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

struct values {
  bool flag;
  const char *string;
  roam_opt_list list;
  uint64_t number, duration, seconds, bytes, rate;
  uint32_t ppm;
  roam_addr addr;
};

static size_t fill_rows(struct values *v, roam_limits *limits, roam_opt rows[ROAM_CONFIG_ROWS_MAX]) {
  const roam_opt own[] = {
      {.kind = ROAM_OPT_HEADING, .help = "All kinds"},
      {"flag", 0, ROAM_OPT_FLAG, NULL, "yes or no", &v->flag},
      {"string", 0, ROAM_OPT_STRING, "TEXT", "any", &v->string},
      {"list", 0, ROAM_OPT_LIST, "TEXT", "many", &v->list},
      {"number", 0, ROAM_OPT_UINT, "N", "2 to 9", &v->number, 2, 9},
      {"duration", 0, ROAM_OPT_DURATION, "TIME", "or never", &v->duration, ROAM_NEVER, 3600 * ROAM_S},
      {"seconds", 0, ROAM_OPT_SECONDS, "TIME", "at most an hour", &v->seconds, 0, 3600 * ROAM_S},
      {"bytes", 0, ROAM_OPT_BYTES, "SIZE", "at most 1G", &v->bytes, 1, 1u << 30},
      {"rate", 0, ROAM_OPT_RATE, "RATE", "any", &v->rate},
      {"share", 0, ROAM_OPT_PPM, "SHARE", "at most all", &v->ppm, 0, 1000000},
      {"address", 0, ROAM_OPT_ADDRESS, "ADDR", "any", &v->addr},
      {"later", 0, ROAM_OPT_LATER, NULL, "comes later", NULL},
  };
  memcpy(rows, own, sizeof own);
  return sizeof own / sizeof own[0] + roam_limits_init(limits, rows + sizeof own / sizeof own[0]);
}

static void check(const struct values *v, const roam_limits *limits) {
  roam_broker_options o;
  FUZZ_CHECK(v->number >= 2 && v->number <= 9 && v->bytes >= 1 && v->bytes <= 1u << 30 && v->ppm <= 1000000);
  FUZZ_CHECK((v->duration <= 3600 * ROAM_S || v->duration == ROAM_NEVER) && v->seconds <= 3600 * ROAM_S);
  FUZZ_CHECK(v->list.len <= ROAM_OPT_LIST_MAX && (v->addr.family == 4 || v->addr.family == 6));
  for (size_t i = 0; i < v->list.len; i++) FUZZ_CHECK(v->list.at[i] && strlen(v->list.at[i]) <= ROAM_CONFIG_BYTES_MAX);
  roam_broker_options_init(&o);
  const char *value = NULL, *wrong = roam_limits_fill(limits, &o, &value);
  if (!wrong) (void)roam_broker_option_error(&o);
}

static int make_file(const uint8_t *data, size_t size, char path[64]) {
  int fd = memfd_create("config", MFD_CLOEXEC);
  FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
  snprintf(path, 64, "/proc/self/fd/%d", fd);
  return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct values v = {.number = 2, .bytes = 1, .addr = {.family = 4}};
  roam_limits limits = {0};
  roam_opt rows[ROAM_CONFIG_ROWS_MAX];
  roam_config config;
  char path[64];
  static int quiet;
  if (size > 16384) return 0;
  if (!quiet++) stderr = fopen("/dev/null", "w"); /* the stream only: sanitizers write to the descriptor */
  int fd = make_file(data, size, path);
  const roam_opts opts = {"broker", "", "", NULL, rows, fill_rows(&v, &limits, rows)};
  if (roam_config_read(&config, &opts, path) == 0) check(&v, &limits);
  for (size_t i = 0; i < opts.len; i++)
    if (opts.at[i].name) FUZZ_CHECK(roam_config_line(&config, &opts, opts.at[i].name) <= size + 1);
  roam_config_clear(&config);
  close(fd);
  return 0;
}
