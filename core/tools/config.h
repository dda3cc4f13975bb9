/* config.h - a file of options: the same names, values and complaints as on the command line, from the same table.
 *
 * One option a line, `name = value`, an option that may be repeated once for each value; a flag alone, or with yes or no.
 * Empty lines and lines that begin with # are left out. */
#ifndef ROAM_CONFIG_H
#define ROAM_CONFIG_H

#include "options.h"

enum {
  ROAM_CONFIG_BYTES_MAX = 1 << 20,
  ROAM_CONFIG_ROWS_MAX = 128
};

typedef struct roam_config {
  const char *path;
  uint8_t *text; /* values point into it */
  uint8_t *raw;  /* as it was, for the lines of values */
  size_t len;
  unsigned lines[ROAM_CONFIG_ROWS_MAX]; /* where the row of that index was set last; 0: not here */
} roam_config;

/* Reads path into the variables of the table. 0 or an exit code, said with file and line. */
int roam_config_read(roam_config *c, const roam_opts *opts, const char *path);
/* The line where the option that this sentence begins with was set; 0: not in the file, or no such option. */
unsigned roam_config_line(const roam_config *c, const roam_opts *opts, const char *sentence);
/* The line this value stands on; 0: it is not from the file. */
unsigned roam_config_line_at(const roam_config *c, const char *value);
void roam_config_clear(roam_config *c);

#endif
