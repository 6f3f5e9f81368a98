// Command hello greets its first argument.
package main

import (
	"fmt"
	"os"
)

var version = "unset"

func greet(who string) string {
	return fmt.Sprintf("hello %s, version %s, uid %d", who, version, os.Getuid())
}

func main() {
	who := "nobody"
	if len(os.Args) > 1 {
		who = os.Args[1]
	}
	fmt.Println(greet(who))
}
