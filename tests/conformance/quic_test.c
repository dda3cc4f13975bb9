/* The transport suite over QUIC: glued in memory, in a simulated world, on real sockets. */
#include "conformance/glue_rig.h"
#include "conformance/loop_rig.h"
#include "conformance/world_rig.h"

int main(void) {
  int failed = transport_suite_run("quic, glued in memory", ROAM_TRANSPORT_QUIC, glue_rig_begin);
  failed += transport_suite_run("quic, in a world", ROAM_TRANSPORT_QUIC, world_rig_begin);
  failed += transport_suite_run("quic, on loopback", ROAM_TRANSPORT_QUIC, loop_rig_begin);
  return failed;
}
