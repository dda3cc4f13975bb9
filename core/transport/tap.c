/* tap.c - names of the congestion controls. Pure. */
#include <roamqtt/tap.h>

#include <string.h>
#include <strings.h>

static const char *const names[] = {"cubic", "reno", "bbr"};

const char *roam_congestion_name(int congestion) {
  return congestion >= 0 && congestion < (int)(sizeof names / sizeof names[0]) ? names[congestion] : "?";
}

roam_rc roam_congestion_parse(const char *name, roam_congestion *out) {
  for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
    if (strcasecmp(name, names[i]) != 0) continue;
    *out = (roam_congestion)i;
    return 0;
  }
  return ROAM_E_OPTION;
}
