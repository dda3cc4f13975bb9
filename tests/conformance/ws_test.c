/* The transport suite over WS: glued in memory, in a simulated world, on real sockets. */
#include "conformance/glue_rig.h"
#include "conformance/loop_rig.h"
#include "conformance/world_rig.h"

int main(void) {
  int failed = transport_suite_run("ws, glued in memory", ROAM_TRANSPORT_WS, glue_rig_begin);
  failed += transport_suite_run("ws, in a world", ROAM_TRANSPORT_WS, world_rig_begin);
  failed += transport_suite_run("ws, on loopback", ROAM_TRANSPORT_WS, loop_rig_begin);
  return failed;
}
