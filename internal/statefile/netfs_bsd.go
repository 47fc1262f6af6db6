//go:build darwin || dragonfly || freebsd

package statefile

import "syscall"

const mntLocal = 0x1000 // MNT_LOCAL of sys/mount.h

// networkFS names the network file system that folder is on, "" for a local one.
func networkFS(folder string) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return "", err
	}
	if st.Flags&mntLocal != 0 {
		return "", nil
	}
	var name []byte
	for _, c := range st.Fstypename {
		if c == 0 {
			break
		}
		name = append(name, byte(c))
	}
	return string(name), nil
}
