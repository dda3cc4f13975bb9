/* identity.h - the throw-away CA of a broker that was given no certificate. */
#ifndef ROAM_TOOL_IDENTITY_H
#define ROAM_TOOL_IDENTITY_H

#include "tool.h"

#include <roamqtt/tls.h>

#define ROAM_PATH_MAX 4096

/* Takes the CA in the state folder ($XDG_STATE_HOME/roamqtt or ~/.local/state/roamqtt), or makes one there when there is
 * none that is valid for another week, and issues a certificate for names (as roam_identity_make). ca_path: the CA's
 * certificate, for clients. Its key is readable by its owner only. On failure why is a sentence. */
roam_rc roam_identity_throwaway(roam_identity *out, const char *names, int64_t wall_unix_s, char ca_path[ROAM_PATH_MAX],
                                char why[ROAM_WHY_MAX]);

#endif
