/* cmd_version.c - `roamqtt version`: which roamqtt this is. */
#include "options.h"

#include <roamqtt/roamqtt.h>

int cmd_version(int argc, char **argv) {
  const roam_opts opts = {"version", "", "Prints the version.", NULL, NULL, 0};
  int rest, code;
  if (!roam_opts_read(&opts, argc, argv, &rest, &code)) return code;
  if (rest > 1) return roam_tool_usage("version", "takes no operand, got '%s'", argv[1]);
  printf("roamqtt %s\n", roam_version());
  return ROAM_EXIT_OK;
}
