/* broker_limits.h - the broker's limits as options of the command line. A limit has one name everywhere: the field of
 * roam_broker_options is receive_maximum, the option --receive-maximum. */
#ifndef ROAM_BROKER_LIMITS_H
#define ROAM_BROKER_LIMITS_H

#include "options.h"

#include <roamqtt/broker.h>

#define ROAM_LIMITS_MAX 40

typedef struct roam_limits {
  uint64_t values[ROAM_LIMITS_MAX];
  const char *overflow, *response_information;
  bool payload_format_check;
} roam_limits;

#define ROAM_LIMITS_OPTS_MAX (ROAM_LIMITS_MAX + 5)

/* Writes the rows of the option table that set limits, with the library's defaults; returns how many. */
size_t roam_limits_init(roam_limits *l, roam_opt rows[ROAM_LIMITS_OPTS_MAX]);
/* NULL, or why not; then the value at fault is *value. */
const char *roam_limits_fill(const roam_limits *l, roam_broker_options *o, const char **value);

#endif
