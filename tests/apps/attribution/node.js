// A Node server that says by markers for which request it works: /SHAPE/NUMBER, one shape for each way to wait.
// UPSTREAM is the port of a server that answers late. What libuv's pool does for a request cannot say so itself.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const zlib = require('node:zlib');

const BYTES = 192 * 1024;
const PAGE = 4096;
const upstream = `http://127.0.0.1:${process.env.UPSTREAM}/`;
const mark = fs.openSync('/dev/null', 'w');
const few = new http.Agent({ keepAlive: true, maxSockets: 4 });
const text = Buffer.alloc(64 * 1024, 'to be or not to be, that is the question; ');

// Fresh pages for this request. One part of a request is told from its others by the ID.
function work(number, part) {
  const id = `${number}.${part}`;
  fs.writeSync(mark, `memtrace:begin ${number} ${id}`);
  const buffer = Buffer.allocUnsafeSlow(BYTES);
  for (let at = 0; at < BYTES; at += PAGE) buffer[at] = 1;
  fs.writeSync(mark, `memtrace:end ${id}`);
}

async function ask() {
  const answer = await fetch(upstream);
  await answer.text();
}

const shapes = {
  sync(number, answer) {
    work(number, 1);
    answer();
  },
  async fetch(number, answer) {
    work(number, 1);
    await ask();
    work(number, 2);
    answer();
  },
  async fetches(number, answer) {
    work(number, 1);
    await ask();
    work(number, 2);
    await ask();
    work(number, 3);
    answer();
  },
  agent(number, answer) {
    work(number, 1);
    http.get(upstream, { agent: few }, (response) => {
      response.resume();
      response.on('end', () => {
        work(number, 2);
        answer();
      });
    });
  },
  timer(number, answer) {
    work(number, 1);
    setTimeout(() => {
      work(number, 2);
      answer();
    }, 3);
  },
  timers(number, answer) {
    work(number, 1);
    setTimeout(() => {
      work(number, 2);
      setTimeout(() => {
        work(number, 3);
        answer();
      }, 3);
    }, 3);
  },
  immediate(number, answer) {
    work(number, 1);
    setImmediate(() => {
      work(number, 2);
      answer();
    });
  },
  readfile(number, answer) {
    work(number, 1);
    fs.readFile(__filename, () => {
      work(number, 2);
      answer();
    });
  },
  pbkdf2(number, answer) {
    work(number, 1);
    crypto.pbkdf2('secret', 'salt', 1000, 32, 'sha256', () => {
      work(number, 2);
      answer();
    });
  },
  gzip(number, answer) {
    work(number, 1);
    zlib.gzip(text, () => {
      work(number, 2);
      answer();
    });
  },
};

const server = http.createServer((request, response) => {
  const [, shape, number] = request.url.split('/');
  shapes[shape](number, () => response.end('done\n'));
});

server.listen(0, '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`);
});
