package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// saved is where an image was found.
type saved struct {
	archive, config string
	layers          []string
	own             bool // not of the release, whose images are empty
}

// scanImages reads the names out of manifest.json of every archive (docker-save layout, manifest first).
func (r *runtime) scanImages(dir string) {
	ents, _ := os.ReadDir(dir)
	for _, e := range ents {
		if strings.Contains(e.Name(), ".tar") || strings.HasSuffix(e.Name(), ".tgz") {
			path := filepath.Join(dir, e.Name())
			err := each(path, func(h *tar.Header, t io.Reader) error {
				if h.Name != "manifest.json" {
					return nil
				}
				var m []struct {
					Config           string
					RepoTags, Layers []string
				}
				if err := json.NewDecoder(t).Decode(&m); err != nil {
					return err
				}
				for _, i := range m {
					for _, n := range i.RepoTags {
						r.images[norm(n)] = saved{path, i.Config, i.Layers, !strings.HasPrefix(e.Name(), "rke2-")}
					}
				}
				return io.EOF
			})
			if err != nil {
				log.Printf("import %s: %v", e.Name(), err)
			}
		}
	}
}

// each calls back with every file of an archive, until io.EOF is returned.
func each(path string, f func(*tar.Header, io.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var rd io.Reader = file
	switch {
	case strings.HasSuffix(path, ".zst"):
		z, err := zstd.NewReader(file)
		if err != nil {
			return err
		}
		defer z.Close()
		rd = z
	case strings.HasSuffix(path, "gz"):
		if rd, err = gzip.NewReader(file); err != nil {
			return err
		}
	}
	for t := tar.NewReader(rd); ; {
		h, err := t.Next()
		if err == nil {
			err = f(h, t)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unpack lays the image out below dir and tells what it runs; nothing where it runs nothing.
func (s saved) unpack(dir string) ([]string, error) {
	root := filepath.Join(dir, "rootfs")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	var config struct {
		Config struct{ Entrypoint, Cmd []string }
	}
	err := each(s.archive, func(h *tar.Header, t io.Reader) error {
		if h.Name == s.config {
			return json.NewDecoder(t).Decode(&config)
		}
		for _, layer := range s.layers {
			if h.Name == layer {
				return unpackLayer(root, t)
			}
		}
		return nil
	})
	return append(config.Config.Entrypoint, config.Config.Cmd...), err
}

// unpackLayer writes the folders, files and links of a layer; one layer is enough for the images of a lab.
func unpackLayer(root string, rd io.Reader) error {
	z, err := gzip.NewReader(rd)
	if err != nil {
		return err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(root, filepath.Join("/", h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		case tar.TypeReg:
			err = unpackFile(path, h, t)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(path string, h *tar.Header, rd io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, os.FileMode(h.Mode)&0o777)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, rd)
	return errors.Join(err, f.Close())
}

// enter gives the command that sees the image's files and the pod's mounts and nothing else of the host's.
func enter(dir string, mounts []*cri.Mount) []string {
	root := filepath.Join(dir, "rootfs")
	script := "set -e; r=$1; shift; for d in proc sys dev; do mkdir -p \"$r/$d\"; mount --rbind \"/$d\" \"$r/$d\"; done\n"
	for _, m := range mounts {
		to := filepath.Join(root, m.ContainerPath)
		script += fmt.Sprintf("if [ -d '%[1]s' ]; then mkdir -p '%[2]s'; else mkdir -p '%[3]s'; touch '%[2]s'; fi; mount --bind '%[1]s' '%[2]s'\n",
			m.HostPath, to, filepath.Dir(to))
	}
	script += "exec chroot \"$r\" \"$@\""
	return []string{"/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "enter", root}
}
