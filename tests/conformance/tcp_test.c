/* The transport suite over TCP: glued in memory, in a simulated world, on real sockets. */
#include "conformance/glue_rig.h"
#include "conformance/loop_rig.h"
#include "conformance/world_rig.h"

int main(void) {
  int failed = transport_suite_run("tcp, glued in memory", ROAM_TRANSPORT_TCP, glue_rig_begin);
  failed += transport_suite_run("tcp, in a world", ROAM_TRANSPORT_TCP, world_rig_begin);
  failed += transport_suite_run("tcp, on loopback", ROAM_TRANSPORT_TCP, loop_rig_begin);
  return failed;
}
