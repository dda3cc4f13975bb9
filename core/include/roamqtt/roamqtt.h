/* roamqtt.h - everything, and the version. */
#ifndef ROAMQTT_ROAMQTT_H
#define ROAMQTT_ROAMQTT_H

#include <roamqtt/base.h>
#include <roamqtt/broker.h>
#include <roamqtt/client.h>
#include <roamqtt/event.h>
#include <roamqtt/hop.h>
#include <roamqtt/load.h>
#include <roamqtt/loop.h>
#include <roamqtt/mqtt.h>
#include <roamqtt/record.h>
#include <roamqtt/sim.h>
#include <roamqtt/store.h>
#include <roamqtt/tls.h>
#include <roamqtt/wire.h>

#define ROAM_VERSION_MAJOR 0
#define ROAM_VERSION_MINOR 1
#define ROAM_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif
/* "0.1.0". Static storage. */
ROAM_API const char *roam_version(void);
#ifdef __cplusplus
}
#endif
#endif
