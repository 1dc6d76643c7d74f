// A picture of a trace in Perfetto's user interface: node screenshot.mjs UI CHROMIUM TRACE OUT.png HEIGHT [COMMANDS]
//
// UI is a directory with the built interface, COMMANDS is JSON of its start-up commands. Everything is served to one
// headless browser from a port of the loopback, and the browser and its profile are gone afterwards.
// Owns serving, driving the browser, and knowing when the picture is still. Must not know what the trace shows.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';

const WIDTH = 1600;
const PATIENCE_MS = 120_000;
const LOOK_MS = 700;
// As many pictures in a row are the same.
const STILL = 3;
const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.woff2': 'font/woff2',
};

async function serve(ui, trace) {
  const root = path.resolve(ui);
  const server = http.createServer((request, response) => {
    const name = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    const file = name === '/trace' ? trace : path.join(root, name === '/' ? 'index.html' : name);
    // The package's own server answers these two, about the trace that it was started with.
    if (name === '/vizviewer_info' || name === '/file_info') return response.end('{}');
    response.setHeader('Content-Type', TYPES[path.extname(file)] ?? 'application/octet-stream');
    fs.createReadStream(file)
      .on('error', () => response.writeHead(404).end())
      .pipe(response);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return server;
}

// The browser, spoken to over two pipes, a message a NUL.
class Browser {
  constructor(program) {
    this.profile = fs.mkdtempSync(path.join(os.tmpdir(), 'memtrace-screenshot-'));
    const options = [
      '--headless',
      '--no-sandbox',
      '--no-first-run',
      '--disable-gpu',
      '--disable-quic',
      '--disable-sync',
      '--disable-background-networking',
      '--disable-component-update',
      '--hide-scrollbars',
      '--remote-debugging-pipe',
      `--user-data-dir=${this.profile}`,
    ];
    this.process = spawn(program, [...options, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    this.waiting = new Map();
    this.calls = 0;
    this.ended = new Promise((ended) => {
      this.process.once('exit', ended);
      this.process.once('error', ended);
    }).then(() => {
      for (const { fail } of this.waiting.values()) fail(new Error(`${program} ended`));
    });
    let heard = '';
    this.process.stdio[4].setEncoding('utf8').on('data', (text) => {
      const messages = (heard + text).split('\0');
      heard = messages.pop();
      messages.map((message) => JSON.parse(message)).forEach((message) => this.answer(message));
    });
    this.process.stdio[3].on('error', () => {});
  }

  answer({ id, result, error }) {
    const call = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) call?.fail(new Error(error.message));
    else call?.give(result);
  }

  call(method, params = {}) {
    const id = ++this.calls;
    return new Promise((give, fail) => {
      this.waiting.set(id, { give, fail });
      this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: this.session })}\0`);
    });
  }

  async open(url, height) {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    this.session = sessionId;
    const size = { width: WIDTH, height, deviceScaleFactor: 1, mobile: false };
    await this.call('Emulation.setDeviceMetricsOverride', size);
    await this.call('Page.navigate', { url });
  }

  async evaluate(expression) {
    return (await this.call('Runtime.evaluate', { expression, returnByValue: true })).result?.value;
  }

  async picture() {
    return (await this.call('Page.captureScreenshot', { format: 'png' })).data;
  }

  async close() {
    // Asked to end, it ends its own processes first, which write to the profile until then.
    this.session = undefined;
    const stuck = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
    await this.call('Browser.close').catch(() => {});
    await this.ended;
    clearTimeout(stuck);
    await fs.promises.rm(this.profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

const pause = () => new Promise((over) => setTimeout(over, LOOK_MS));

async function stillPicture(browser) {
  const deadline = Date.now() + PATIENCE_MS;
  for (let last = '', same = 0; Date.now() < deadline; await pause()) {
    if (!(await browser.evaluate("document.querySelector('.pf-track') !== null"))) continue;
    const picture = await browser.picture();
    same = picture === last ? same + 1 : 1;
    last = picture;
    if (same === STILL) return picture;
  }
  throw new Error(`no still picture within ${PATIENCE_MS / 1000} s`);
}

const [ui, program, trace, out, height, commands] = process.argv.slice(2);
if (!height) {
  console.error('usage: node screenshot.mjs UI CHROMIUM TRACE OUT.png HEIGHT [COMMANDS]');
  process.exit(2);
}
const server = await serve(ui, trace);
const browser = new Browser(program);
try {
  const origin = `http://127.0.0.1:${server.address().port}`;
  const asked = new URLSearchParams({ url: `${origin}/trace` });
  if (commands) asked.set('startupCommands', commands);
  await browser.open(`${origin}/#!/?${asked}`, Number(height));
  fs.writeFileSync(out, Buffer.from(await stillPicture(browser), 'base64'));
} catch (error) {
  console.error(String(error.message ?? error));
  process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
  server.closeAllConnections();
}
