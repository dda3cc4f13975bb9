/* version.c - the library's version as text. */
#include <roamqtt/roamqtt.h>

#define TEXT(x) #x
#define EXPAND(x) TEXT(x)

const char *roam_version(void) {
  return EXPAND(ROAM_VERSION_MAJOR) "." EXPAND(ROAM_VERSION_MINOR) "." EXPAND(ROAM_VERSION_PATCH);
}
