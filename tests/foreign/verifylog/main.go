// Verifies a published log with Go's own sumdb packages: verifylog FOLDER VKEY-FILE
//
// The checkpoint's signature, every entry's inclusion through the tiles, and the root. Prints "OK ORIGIN SIZE"; else
// says what is wrong and exits with 1.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"foreign/checkpoint"
)

const (
	height = 8
	width  = 1 << height
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(folder, vkey string) error {
	signed, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return err
	}
	origin, tree, err := checkpoint.Open(signed, vkey)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, files(folder))
	for first := int64(0); first < tree.N; first += width {
		if err := checkBundle(folder, tree, hashes, first, min(width, tree.N-first)); err != nil {
			return err
		}
	}
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the tiles have the root %v, the checkpoint %v", root, tree.Hash)
	}
	fmt.Printf("OK %s %d\n", origin, tree.N)
	return nil
}

// checkBundle proves each of the entries [first, first+count) against the tree's root.
func checkBundle(folder string, tree tlog.Tree, hashes tlog.HashReader, first, count int64) error {
	tile := tlog.Tile{H: height, L: -1, N: first / width, W: int(count)}
	data, full, err := read(folder, tile)
	if err != nil {
		return err
	}
	held := int64(0)
	for ; len(data) > 0; held++ {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return fmt.Errorf("bundle %d is cut off", first/width)
		}
		entry := data[2 : 2+int(binary.BigEndian.Uint16(data))]
		data = data[2+len(entry):]
		if held >= count {
			continue
		}
		proof, err := tlog.ProveRecord(tree.N, first+held, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, first+held, tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", first+held, err)
		}
	}
	if held < count || held > count && !full {
		return fmt.Errorf("bundle %d holds %d entries, not %d", first/width, held, count)
	}
	return nil
}

// files reads tiles; sumdb checks them against the tree before it uses a hash of them.
type files string

func (f files) Height() int { return height }

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, full, err := read(string(f), tile)
		if err != nil {
			return nil, err
		}
		if full {
			if len(data) != width*tlog.HashSize {
				return nil, fmt.Errorf("tile %v has %d bytes", tile, len(data))
			}
			data = data[:tile.W*tlog.HashSize]
		}
		all = append(all, data)
	}
	return all, nil
}

// read gives a tile or bundle as it lies in the folder, and whether it is the full one: it may stand for a partial one.
func read(folder string, tile tlog.Tile) ([]byte, bool, error) {
	data, err := os.ReadFile(filepath.Join(folder, path(tile)))
	if errors.Is(err, fs.ErrNotExist) && tile.W < width {
		tile.W = width
		data, err = os.ReadFile(filepath.Join(folder, path(tile)))
	}
	return data, tile.W == width, err
}

// path is sumdb's (tile/8/1/x001/234, tile/8/data/567) without the height, and with C2SP's word for entry bundles.
func path(tile tlog.Tile) string {
	return strings.Replace(strings.Replace(tile.Path(), "tile/8/", "tile/", 1), "tile/data/", "tile/entries/", 1)
}
