/* explain.c - turns a failed connection into one sentence that names the cause and what to do. Prints nothing. */
#include "dial.h"

#include <string.h>

static bool is_quic(const char *url) { return strncmp(url, "mqtt-quic:", 10) == 0 || strncmp(url, "quic:", 5) == 0; }

static const char *refusal_remedy(int reason) {
  switch (reason) {
    case ROAM_REASON_BAD_USER_NAME_OR_PASSWORD:
    case ROAM_REASON_NOT_AUTHORIZED: return "; check -u and -P";
    case ROAM_REASON_CLIENT_ID_NOT_VALID: return "; choose another with -i";
    case ROAM_REASON_UNSUPPORTED_VERSION: return "; try -V 311";
    case ROAM_REASON_SERVER_BUSY:
    case ROAM_REASON_SERVER_UNAVAILABLE:
    case ROAM_REASON_CONNECTION_RATE_EXCEEDED:
    case ROAM_REASON_QUOTA_EXCEEDED: return "; try again later";
    default: return "";
  }
}

static void explain_timeout(char out[ROAM_EXPLAIN_MAX], const char *url) {
  char host[256];
  uint16_t port;
  roam_transport_kind transport;
  if (!is_quic(url) || roam_url_parse(url, &transport, host, sizeof host, &port)) {
    snprintf(out, ROAM_EXPLAIN_MAX, "%s: no answer; check host and port, and whether a firewall drops the packets", url);
    return;
  }
  bool v6 = strchr(host, ':') != NULL;
  snprintf(out, ROAM_EXPLAIN_MAX,
           "%s: no answer over UDP; check host and port. Is UDP blocked on the way? Try mqtt://%s%s%s", url, v6 ? "[" : "",
           host, v6 ? "]" : "");
}

static void explain_certificate(char out[ROAM_EXPLAIN_MAX], const char *url, const char *text) {
  if (text && (strstr(text, "our certificate") || strstr(text, "our kind") || strstr(text, "client certificate"))) {
    snprintf(out, ROAM_EXPLAIN_MAX, "%s: %s; --cert FILE and --key FILE name one that the server's CA has signed", url,
             text);
    return;
  }
  snprintf(out, ROAM_EXPLAIN_MAX,
           "%s: the server's certificate cannot be verified%s%s; name the CA that signed it with --cafile FILE (--insecure "
           "goes on "
           "unverified)",
           url, text ? ": " : "", text ? text : "");
}

/* The client's own text names its url, with port, before the cause: "connect mqtt://a:1883: no answer". */
static const char *bare_text(const char *text) {
  const char *url = text ? strstr(text, "://") : NULL, *cause = url ? strstr(url, ": ") : NULL;
  return cause ? cause + 2 : text;
}

/* What the server itself gives as the reason: the client's text ends with it, "refused: banned (0x8A): not today". */
static const char *reason_string(const char *text) {
  const char *at = text ? strstr(text, "): ") : NULL;
  return at && at[3] ? at + 3 : NULL;
}

void roam_explain_connect(char out[ROAM_EXPLAIN_MAX], const char *url, roam_rc rc, int reason, const char *text) {
  text = bare_text(text);
  switch (rc) {
    case ROAM_E_RESOLVE:
      snprintf(out, ROAM_EXPLAIN_MAX, "%s: the name cannot be resolved; check the spelling and this machine's DNS", url);
      return;
    case ROAM_E_CONN_REFUSED:
      snprintf(out, ROAM_EXPLAIN_MAX, "%s: nothing listens there; is the broker running, and %s?", url,
               strncmp(url, "unix:", 5) == 0 ? "with this --unix" : "on this port");
      return;
    case ROAM_E_TIMEOUT: explain_timeout(out, url); return;
    case ROAM_E_ALPN:
      snprintf(out, ROAM_EXPLAIN_MAX, "%s: the server speaks %s but not MQTT; check the port", url,
               is_quic(url) ? "QUIC" : "TLS");
      return;
    case ROAM_E_CERTIFICATE: explain_certificate(out, url, text); return;
    case ROAM_E_REFUSED:
      if (reason <= 0 && text) {
        snprintf(out, ROAM_EXPLAIN_MAX, "%s: %s", url, text);
        return;
      }
      snprintf(out, ROAM_EXPLAIN_MAX, "%s: the server refused the connection: %s (0x%02x)%s%s%s", url,
               roam_reason_text(reason), (unsigned)reason & 0xff, refusal_remedy(reason),
               reason_string(text) ? "; the server says: " : "", reason_string(text) ? reason_string(text) : "");
      return;
    case ROAM_E_VERSION:
      snprintf(out, ROAM_EXPLAIN_MAX, "%s: the server does not speak this MQTT version; try -V 311", url);
      return;
    case ROAM_E_ADDRESS_NOT_AVAILABLE:
      snprintf(out, ROAM_EXPLAIN_MAX, "%s: -A names an address that this machine does not have", url);
      return;
    default: snprintf(out, ROAM_EXPLAIN_MAX, "%s: %s", url, text ? text : roam_strerror(rc));
  }
}
