package main

import (
	"strings"
	"testing"
)

func TestGreet(t *testing.T) {
	if got := greet("you"); !strings.HasPrefix(got, "hello you,") {
		t.Errorf("greet: %q", got)
	}
}
