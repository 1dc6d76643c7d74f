'use strict';
// The student's app: a page with a button, and behind the button a call to a GPT API.
// Owns routes, validation and statuses. The calendar is pillars.js's, the API gpt.js's.
//
//   PORT          3000; 0 picks one
//   GPT_API_URL   a chat completions endpoint; without it mock-gpt.js is started
//   GPT_API_KEY   its bearer token
//   MOCK_PORT     0: where the mock listens; MOCK_DELAY_MS and MOCK_ANSWER_KB are handed on to it
//   SAJU_DEBUG    log process.memoryUsage() before and after each reading

const { fork } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { fourPillars } = require('./pillars.js');
const { ApiError, readPillars } = require('./gpt.js');

const PAGE = fs.readFileSync(path.join(__dirname, 'index.html'));
const BODY_MAX = 4 * 1024;

/** An answer that is not 200. */
class HttpError extends Error {
  constructor(status, message, headers = {}) {
    super(message);
    Object.assign(this, { status, headers });
  }
}

function sendJson(response, status, body, headers = {}) {
  const json = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': json.length, ...headers });
  response.end(json);
}

function readBody(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    let size = 0;
    request.on('data', (chunk) => {
      size += chunk.length;
      if (size <= BODY_MAX) return chunks.push(chunk);
      // What is left of it is not read: the connection cannot be used again.
      request.pause();
      reject(new HttpError(413, `the body is limited to ${BODY_MAX} bytes`, { Connection: 'close' }));
    });
    request.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    request.on('error', reject);
  });
}

function parseBirth(text) {
  let form;
  try {
    form = JSON.parse(text);
  } catch {
    throw new HttpError(400, 'the body is no JSON');
  }
  const { name, birthDate, birthTime = '' } = form !== null && typeof form === 'object' ? form : {};
  if (typeof name !== 'string' || name.trim() === '' || [...name].length > 40) {
    throw new HttpError(400, 'name: 1 to 40 characters');
  }
  const date = typeof birthDate === 'string' && /^(\d{4})-(\d{2})-(\d{2})$/.exec(birthDate);
  const [year, month, day] = date ? date.slice(1).map(Number) : [];
  const time = date ? new Date(Date.UTC(year, month - 1, day)) : null;
  const real = time && time.getUTCMonth() === month - 1 && time.getUTCDate() === day;
  if (!real || year < 1900 || time > Date.now()) {
    throw new HttpError(400, 'birthDate: a day from 1900-01-01 to today, as YYYY-MM-DD');
  }
  const clock = typeof birthTime === 'string' && /^(?:([01]\d|2[0-3]):[0-5]\d)?$/.exec(birthTime);
  if (!clock) throw new HttpError(400, 'birthTime: HH:MM, or empty where it is not known');
  return { name: name.trim(), birth: { year, month, day, hour: clock[1] ? Number(clock[1]) : null } };
}

function logMemory(when) {
  if (process.env.SAJU_DEBUG) console.error(when, process.memoryUsage());
}

async function saju(api, request, response) {
  const type = (request.headers['content-type'] ?? '').split(';')[0].trim().toLowerCase();
  if (type !== 'application/json') throw new HttpError(415, 'Content-Type: application/json');
  const { name, birth } = parseBirth(await readBody(request));
  // Whoever leaves is not read to.
  const left = new AbortController();
  response.on('close', () => left.abort());
  logMemory('before');
  const pillars = fourPillars(birth);
  const read = await readPillars(api.url, api.key, name, pillars, left.signal);
  logMemory('after');
  sendJson(response, 200, { name, pillars, ...read });
}

async function route(api, request, response) {
  const [pathname] = request.url.split('?', 1);
  const allow = (...methods) => {
    if (!methods.includes(request.method)) {
      throw new HttpError(405, `${request.method} is not for ${pathname}`, { Allow: methods.join(', ') });
    }
  };
  if (pathname === '/') {
    allow('GET', 'HEAD');
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Length': PAGE.length });
    response.end(PAGE);
  } else if (pathname === '/saju') {
    allow('POST');
    await saju(api, request, response);
  } else {
    throw new HttpError(404, `no page at ${pathname}`);
  }
}

function serve(api, port) {
  const server = http.createServer((request, response) => {
    route(api, request, response).catch((error) => {
      if (response.destroyed) return;
      if (error instanceof HttpError) return sendJson(response, error.status, { error: error.message }, error.headers);
      if (error instanceof ApiError) {
        console.error(`saju: the API failed: ${error.message}`);
        return sendJson(response, 502, { error: 'the oracle does not answer; try again' });
      }
      console.error(error);
      sendJson(response, 500, { error: 'something broke' });
    });
  });
  server.on('error', (error) => stop(`cannot listen on port ${port}: ${error.message}`));
  server.listen(port, '127.0.0.1', () => console.log(`saju on http://localhost:${server.address().port}`));
}

function stop(why) {
  console.error(`saju: ${why}`);
  process.exit(1);
}

function portOf(name, fallback) {
  const port = Number(process.env[name] ?? fallback);
  if (!Number.isInteger(port) || port < 0 || port > 65535) stop(`${name} is a port, not ${process.env[name]}`);
  return port;
}

function startMock() {
  return new Promise((resolve) => {
    const mock = fork(path.join(__dirname, 'mock-gpt.js'), {
      env: { ...process.env, MOCK_PORT: String(portOf('MOCK_PORT', 0)) },
    });
    mock.once('message', ({ port }) => resolve(`http://127.0.0.1:${port}/v1/chat/completions`));
    mock.on('exit', () => stop('the mock API has ended'));
  });
}

async function main() {
  const port = portOf('PORT', 3000);
  const text = process.env.GPT_API_URL || (await startMock());
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) stop(`GPT_API_URL is no http URL: ${text}`);
  serve({ url: new URL(text), key: process.env.GPT_API_KEY }, port);
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
main();
