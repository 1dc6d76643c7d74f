// Node's own view of its memory, told to memtrace: process.memoryUsage() when a request has been read, and before its
// answer is whole.
//
//   node --import ./memtrace.mjs app.js
//
// It writes a line to /dev/null at each end of a request, which memtrace reads while it traces the process; where nobody
// does, they are writes to /dev/null. Nothing happens in between. docs/NODE.md has the words and what it costs.

import { subscribe } from 'node:diagnostics_channel';
import { openSync, writeSync } from 'node:fs';
import { ServerResponse } from 'node:http';

const mark = openSync('/dev/null', 'w');
const told = Symbol('memtrace');

/** Which connection it is about says which request: by the time that it ends, others may be on their way. */
function tell(at, socket) {
  const fd = socket?._handle?.fd;
  if (!(fd >= 0)) return;
  const { rss, heapTotal, heapUsed, external, arrayBuffers } = process.memoryUsage();
  try {
    writeSync(
      mark,
      `memtrace:runtime ${at} ${fd} rss=${rss} heapTotal=${heapTotal} heapUsed=${heapUsed} external=${external} arrayBuffers=${arrayBuffers}`,
    );
  } catch {
    // An app is not to suffer from being watched.
  }
}

subscribe('http.server.request.start', ({ response, socket }) => {
  response[told] = socket;
  tell('start', socket);
});

const { end } = ServerResponse.prototype;
ServerResponse.prototype.end = function (...args) {
  const socket = this[told];
  if (socket) {
    this[told] = null;
    tell('end', socket);
  }
  return end.apply(this, args);
};
