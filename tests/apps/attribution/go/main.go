// net/http, a goroutine for each connection. UPSTREAM is the port of a server that answers late.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	size = 192 * 1024
	page = 4096
)

var (
	upstream = "http://127.0.0.1:" + os.Getenv("UPSTREAM") + "/"
	null     int
	client   = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
)

func mark(text string) {
	if _, err := syscall.Write(null, []byte(text)); err != nil {
		panic(err)
	}
}

// Fresh pages for this request. Mapped by hand, because Go's own heap gives few back. One part of a request is told
// from its others by the ID. The goroutine stays on its thread meanwhile.
func work(number, part int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mark(fmt.Sprintf("memtrace:begin %d %d.%d", number, number, part))
	pages, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for at := 0; at < size; at += page {
		pages[at] = 1
	}
	if err := syscall.Munmap(pages); err != nil {
		panic(err)
	}
	mark(fmt.Sprintf("memtrace:end %d.%d", number, part))
}

func ask() {
	response, err := client.Get(upstream)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		panic(err)
	}
}

var shapes = map[string]func(number int){
	"sync": func(number int) {
		work(number, 1)
	},
	"upstream": func(number int) {
		work(number, 1)
		ask()
		work(number, 2)
		ask()
		work(number, 3)
	},
	"sleep": func(number int) {
		work(number, 1)
		time.Sleep(3 * time.Millisecond)
		work(number, 2)
	},
}

func handle(response http.ResponseWriter, request *http.Request) {
	words := strings.Split(request.URL.Path, "/")
	number, err := strconv.Atoi(words[2])
	if err != nil {
		panic(err)
	}
	shapes[words[1]](number)
	io.WriteString(response, "done\n")
}

func main() {
	var err error
	if null, err = syscall.Open("/dev/null", syscall.O_WRONLY, 0); err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(handle)))
}
