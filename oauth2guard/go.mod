module github.com/tokenguard/tokenguard/oauth2guard

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/tokenguard/tokenguard v0.0.0
	golang.org/x/oauth2 v0.37.0
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
