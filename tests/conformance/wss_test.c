/* The transport suite over WSS: glued in memory, in a simulated world, on real sockets. */
#include "conformance/glue_rig.h"
#include "conformance/loop_rig.h"
#include "conformance/world_rig.h"

int main(void) {
  int failed = transport_suite_run("wss, glued in memory", ROAM_TRANSPORT_WSS, glue_rig_begin);
  failed += transport_suite_run("wss, in a world", ROAM_TRANSPORT_WSS, world_rig_begin);
  failed += transport_suite_run("wss, on loopback", ROAM_TRANSPORT_WSS, loop_rig_begin);
  return failed;
}
