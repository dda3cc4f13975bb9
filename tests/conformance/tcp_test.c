/* The transport suite over TCP. */
#include "conformance/glue_rig.h"

int main(void) {
  return transport_suite_run("tcp, glued in memory", ROAM_TRANSPORT_TCP, glue_rig_begin);
}
