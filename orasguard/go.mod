module github.com/tokenguard/tokenguard/orasguard

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/tokenguard/tokenguard v0.0.0
	oras.land/oras-go/v2 v2.7.0
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
