// Checks a proof file without the log: checkproof PROOF-FILE ENTRY-FILE VKEY-FILE
//
// Prints "OK ORIGIN INDEX SIZE"; else says what is wrong and exits with 1.
package main

import (
	"fmt"
	"os"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"

	"foreign/checkpoint"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(proofFile, entryFile, vkey string) error {
	data, err := os.ReadFile(proofFile)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(entryFile)
	if err != nil {
		return err
	}
	var told proof.TLogProof
	if err := told.Unmarshal(data); err != nil {
		return err
	}
	origin, tree, err := checkpoint.Open(told.Checkpoint, vkey)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, hash := range told.Hashes {
		path = append(path, hash)
	}
	if told.Index >= uint64(tree.N) {
		return fmt.Errorf("index %d lies outside a tree of %d", told.Index, tree.N)
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, int64(told.Index), tlog.RecordHash(entry)); err != nil {
		return err
	}
	fmt.Printf("OK %s %d %d\n", origin, told.Index, tree.N)
	return nil
}
