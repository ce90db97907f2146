/*
 * Gives wrk and h2load, which have no option for it, a TLS client certificate and the SNI that a sidecar would send.
 * Part of Sallyport (Apache-2.0). `npm run bench` compiles it:
 *
 *   cc -O2 -Wall -Wextra -shared -fPIC -o clientcert.so clientcert.c -ldl
 *   CLIENT_CERT=chain.pem CLIENT_KEY=key.pem LD_PRELOAD=./clientcert.so wrk https://127.0.0.1:8443/
 *
 * CLIENT_CERT  PEM chain, leaf first; without it nothing is changed
 * CLIENT_KEY   PEM private key
 * CLIENT_SNI   server name to send instead of the program's (optional)
 *
 * The certificate goes into every SSL_CTX the program makes. OpenSSL's headers are not needed: its functions are looked
 * up in the libssl that the program itself has loaded. Any failure ends the program: a load without the certificate
 * would measure refusals.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_FILE = 1, SET_TLSEXT_HOSTNAME = 55 };

static void fail(const char *what, const char *which) {
  fprintf(stderr, "clientcert: %s: %s\n", what, which);
  exit(97);
}

/* ISO C has no cast from an object pointer to a function pointer; POSIX promises that the bytes are the same. */
static void look_up(void *function, const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) found = dlsym(RTLD_DEFAULT, name);
  if (found == NULL) fail("no such function", name);
  memcpy(function, &found, sizeof found);
}

void *SSL_CTX_new(const void *method) {
  void *(*make)(const void *);
  int (*use_chain)(void *, const char *);
  int (*use_key)(void *, const char *, int);
  const char *chain = getenv("CLIENT_CERT");
  const char *key = getenv("CLIENT_KEY");

  look_up(&make, "SSL_CTX_new");
  void *context = make(method);
  if (context == NULL || chain == NULL) return context;
  if (key == NULL) fail("not set", "CLIENT_KEY");
  look_up(&use_chain, "SSL_CTX_use_certificate_chain_file");
  look_up(&use_key, "SSL_CTX_use_PrivateKey_file");
  if (use_chain(context, chain) != 1) fail("cannot use", chain);
  if (use_key(context, key, PEM_FILE) != 1) fail("cannot use", key);
  return context;
}

/* SSL_set_tlsext_host_name() is a macro for this. */
long SSL_ctrl(void *ssl, int command, long number, void *pointer) {
  static long (*real)(void *, int, long, void *);
  if (real == NULL) look_up(&real, "SSL_ctrl");
  char *name = getenv("CLIENT_SNI");
  return real(ssl, command, number, command == SET_TLSEXT_HOSTNAME && name != NULL ? name : pointer);
}
