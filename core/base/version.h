/* version.h - the version's getter for those inside who must not know the whole of <roamqtt/roamqtt.h>. */
#ifndef ROAM_BASE_VERSION_H
#define ROAM_BASE_VERSION_H

#include <roamqtt/base.h>

ROAM_API const char *roam_version(void);

#endif
