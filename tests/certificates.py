"""Certificates for tests of TLS: an authority, a server's and clients' certificates, made by the openssl program into a folder."""
import os
import shutil
import subprocess

OPENSSL = shutil.which("openssl")


class Authority:
    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.cert, self.key = self._paths(name)
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key, "-out",
                      self.cert, "-subj", f"/CN=roamqtt test {name}", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def _paths(self, name):
        return os.path.join(self.folder, f"{name}.pem"), os.path.join(self.folder, f"{name}-key.pem")

    def _openssl(self, *words):
        subprocess.run([OPENSSL, *words], check=True, capture_output=True, timeout=30)

    def issue(self, name, alt="DNS:localhost,IP:127.0.0.1,IP:::1", client=False):
        """Paths of a certificate and its key, whose common name is the name given."""
        cert, key = self._paths(name)
        request, extensions = cert + ".csr", cert + ".ext"
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                      "-subj", f"/CN={name}")
        with open(extensions, "w", encoding="ascii") as out:
            out.write(f"extendedKeyUsage={'clientAuth' if client else 'serverAuth'}\nsubjectAltName={alt}\n")
        self._openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "30",
                      "-extfile", extensions, "-out", cert)
        return cert, key
