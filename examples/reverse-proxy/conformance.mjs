// Runs the public suite of HTTP cache tests (https://cache-tests.fyi, npm package `http-cache-tests`) against the
// reverse proxy, and counts what passes. Not part of any build; the suite is not part of this repository.
//
//     npm install --prefix /tmp/suite http-cache-tests
//     cargo build --release --bin reverse-proxy
//     node examples/reverse-proxy/conformance.mjs /tmp/suite target/release/reverse-proxy [test-id ..]
//
// The origin's and the proxy's ports are free ones. With test ids only these run, and their exchanges are shown.
// The process fails when fewer than 160 required or 100 optimal behaviours pass of a whole run.

import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

const REQUIRED = 160
const OPTIMAL = 100

const [suite, proxyBinary, ...ids] = process.argv.slice(2)
if (!suite || !proxyBinary) {
  console.error('usage: node conformance.mjs SUITE_PREFIX PROXY_BINARY [test-id ..]')
  process.exit(2)
}
const root = path.resolve(suite, 'node_modules', 'http-cache-tests')
const load = name => import(pathToFileURL(path.join(root, name)))
const modules = path.resolve(suite, 'node_modules')

const { runTests, getResults } = await load('client/runner.mjs')
const { default: suites } = await load('tests/index.mjs')
const { default: surrogate } = await load('tests/surrogate-control.mjs')
const { default: fetch } = await import(pathToFileURL(path.join(modules, 'node-fetch', 'lib', 'index.mjs')))
const all = [...suites, surrogate]

const [originPort, proxyPort] = [await freePort(), await freePort()]
const children = [
  start('node', ['server/server.mjs'], {
    cwd: root,
    env: {
      ...process.env,
      npm_config_protocol: 'http',
      npm_config_port: String(originPort),
      npm_config_pidfile: '/dev/null'
    }
  }),
  start(path.resolve(proxyBinary), [
    '--quiet', '--listen', `127.0.0.1:${proxyPort}`, '--origin', `http://127.0.0.1:${originPort}`,
    ...(process.env.PROXY_ARGUMENTS ?? '').split(' ').filter(Boolean)
  ])
]
let failed = false
try {
  await Promise.all([listening(originPort), listening(proxyPort)])
  await runTests(chosen(), fetch, false, `http://127.0.0.1:${proxyPort}`)
  failed = !report(getResults())
} finally {
  children.forEach(child => child.kill('SIGTERM'))
}
process.exit(failed ? 1 : 0)

function chosen () {
  if (ids.length === 0) return all
  const tests = all.flatMap(one => one.tests).filter(test => ids.includes(test.id))
  tests.forEach(test => { test.dump = true })
  return [{ name: 'chosen', id: 'chosen', tests }]
}

function report (results) {
  const counts = {}
  for (const test of all.flatMap(one => one.tests)) {
    const result = results[test.id]
    if (result === undefined) continue
    const kind = test.kind ?? 'required'
    counts[kind] ??= { passed: 0, of: 0 }
    counts[kind].of += 1
    if (result === true) counts[kind].passed += 1
    else if (kind !== 'check' || ids.length > 0) console.log(`${kind}: ${test.id}: ${result.join(': ')}`)
  }
  for (const [kind, { passed, of }] of Object.entries(counts)) console.log(`${kind} ${passed} of ${of}`)
  return ids.length > 0 || (counts.required.passed >= REQUIRED && counts.optimal.passed >= OPTIMAL)
}

function start (command, args, options = {}) {
  return spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], ...options })
}

function freePort () {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

async function listening (port) {
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      await fetch(`http://127.0.0.1:${port}/`)
      return
    } catch {
      await pause(50)
    }
  }
  throw new Error(`nothing listens on ${port}`)
}
