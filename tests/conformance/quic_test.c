/* The transport suite over QUIC. */
#include "conformance/glue_rig.h"

int main(void) {
  return transport_suite_run("quic, glued in memory", ROAM_TRANSPORT_QUIC, glue_rig_begin);
}
