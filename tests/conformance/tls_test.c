/* The transport suite over TLS: glued in memory, in a simulated world, on real sockets. */
#include "conformance/glue_rig.h"
#include "conformance/loop_rig.h"
#include "conformance/world_rig.h"

int main(void) {
  int failed = transport_suite_run("tls, glued in memory", ROAM_TRANSPORT_TLS, glue_rig_begin);
  failed += transport_suite_run("tls, in a world", ROAM_TRANSPORT_TLS, world_rig_begin);
  failed += transport_suite_run("tls, on loopback", ROAM_TRANSPORT_TLS, loop_rig_begin);
  return failed;
}
