# The gateway as an image: compiled JavaScript, production dependencies, nothing else. test/deploy/image.test.ts lints this file
# and does what its RUN, COPY and ENTRYPOINT lines say in a scratch directory.
#
# The base image is pinned by tag, to the very runtime that package.json names. A digest could not be looked up where this was
# written; for your own builds: --build-arg NODE_IMAGE=node:24.21.0-bookworm-slim@sha256:…
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

# --- JavaScript from TypeScript. Runs on the builder's own platform: the result is the same for every one.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

# --- Production dependencies. The optional ones are the runtime for a checkout; the image brings its own.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="An egress gateway that reads Istio and ASM YAML and judges by SPIFFE identity" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
# The heap follows the container's memory limit (cgroup): the rest is for buffers, sockets and TLS. With concurrency N, which
# makes N processes, set it to 75 / N.
ENV NODE_ENV=production \
    NODE_OPTIONS="--max-old-space-size-percentage=75" \
    PATH=/app/bin:$PATH
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json LICENSE ./
COPY bin ./bin
COPY config ./config
# All files belong to root and this uid may write nowhere: the root file system can be read-only (the access log goes to stdout).
USER 10001:10001
EXPOSE 8080 8443 8444 15021 15090
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own (GET :15021/healthz/ready). Where spec.health.port is another: append the URL.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "/app/dist/cli/healthcheck.js"]
# No shell: node is process 1 and gets the signals.
ENTRYPOINT ["node", "--disable-warning=DEP0060", "--use-largepages=silent", "/app/dist/main.js"]
CMD ["run", "-f", "/etc/sallyport/gateway.yaml"]
