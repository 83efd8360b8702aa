// Package checkpoint opens signed checkpoints.
package checkpoint

import (
	"fmt"
	"os"
	"strings"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Open gives the origin and the tree of a checkpoint that the key in the file vkey has signed under its own name.
func Open(signed []byte, vkey string) (string, tlog.Tree, error) {
	key, err := os.ReadFile(vkey)
	if err != nil {
		return "", tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(strings.TrimSuffix(string(key), "\n"))
	if err != nil {
		return "", tlog.Tree{}, err
	}
	opened, _, _, err := log.ParseCheckpoint(signed, verifier.Name(), verifier)
	if err != nil {
		return "", tlog.Tree{}, err
	}
	if len(opened.Hash) != tlog.HashSize {
		return "", tlog.Tree{}, fmt.Errorf("a root of %d bytes", len(opened.Hash))
	}
	return opened.Origin, tlog.Tree{N: int64(opened.Size), Hash: tlog.Hash(opened.Hash)}, nil
}
