/* log.h - making a line for a sink. Lines longer than the buffer are cut; a sink that is not there costs one test. */
#ifndef ROAM_BASE_LOG_H
#define ROAM_BASE_LOG_H

#include <roamqtt/base.h>

static inline bool roam_log_enabled(const roam_log *log, roam_level level) { return log->write && level <= log->level; }
/* Formats and writes when enabled. The arguments are evaluated in any case: test roam_log_enabled first where they cost. */
__attribute__((format(printf, 4, 5))) void roam_log_line(const roam_log *log, roam_time now, roam_level level,
                                                         const char *format, ...);

#endif
