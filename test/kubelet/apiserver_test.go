package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	authentication "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/watch"
)

// apiServer keeps a cluster's objects in memory and serves them as far as one kubelet asks: neither groups
// nor namespaces tell them apart, and every selector selects all.
type apiServer struct {
	mu      sync.Mutex
	objects map[objectKey]*unstructured.Unstructured // none changes: another takes its place
	changes []change                                 // their number is the version of all
	changed chan struct{}                            // closed with the next change
}

type objectKey struct{ resource, name string }

// change is what a watch tells of.
type change struct {
	resource string
	Type     watch.EventType            `json:"type"`
	Object   *unstructured.Unstructured `json:"object"`
}

func newAPIServer() *apiServer {
	return &apiServer{objects: map[objectKey]*unstructured.Unstructured{}, changed: make(chan struct{})}
}

// objectPath has the resource, the name unless it is of all of them, and what of the object is asked for.
var objectPath = regexp.MustCompile(`^/(?:api|apis/[^/]+)/v1/(?:namespaces/[^/]+/)?([^/]+)(?:/([^/]+))?(?:/([^/]+))?$`)

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := objectPath.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		http.NotFound(w, r)
		return
	}
	key, part := objectKey{parts[1], parts[2]}, parts[3]
	switch {
	case r.FormValue("watch") != "":
		a.watch(w, r, key.resource)
	case r.Method == http.MethodGet && key.name == "":
		reply(w, a.list(key.resource), nil)
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		var answer any
		if part == "token" {
			answer, err = token(key.name, body)
		} else {
			answer, err = a.handle(r.Method, key, body)
		}
		reply(w, answer, err)
	}
}

// token is what a service account gets on request.
func token(account string, body []byte) (*authentication.TokenRequest, error) {
	request := &authentication.TokenRequest{}
	if err := json.Unmarshal(body, request); err != nil {
		return nil, err
	}
	request.Status = authentication.TokenRequestStatus{
		Token:               account + " for " + strings.Join(request.Spec.Audiences, ", "),
		ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour)),
	}
	return request, nil
}

func reply(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if refusal, ok := errors.AsType[*apierrors.StatusError](err); ok {
		status := refusal.ErrStatus
		w.WriteHeader(int(status.Code))
		answer = status
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may have gone
}

// list returns objects. Clients know by themselves of what kind, but for pods.
func (a *apiServer) list(resource string) any {
	a.mu.Lock()
	defer a.mu.Unlock()
	items := []any{}
	for key, object := range a.objects {
		if key.resource == resource {
			items = append(items, object)
		}
	}
	answer := map[string]any{"metadata": metav1.ListMeta{ResourceVersion: strconv.Itoa(len(a.changes))}, "items": items}
	if resource == "pods" {
		answer["apiVersion"], answer["kind"] = "v1", "PodList"
	}
	return answer
}

// watch tells a client of changes until it leaves. One that wants all there is told as such is refused, and lists it.
func (a *apiServer) watch(w http.ResponseWriter, r *http.Request, resource string) {
	version, err := strconv.Atoi(r.FormValue("resourceVersion"))
	if err != nil || r.FormValue("sendInitialEvents") != "" {
		http.Error(w, "list before watching", http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for {
		a.mu.Lock()
		news, changed := a.changes[version:], a.changed
		a.mu.Unlock()
		for _, c := range news {
			if c.resource == resource {
				_ = json.NewEncoder(w).Encode(c) // the client may have gone
			}
		}
		version += len(news)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// handle does to an object what a method means.
func (a *apiServer) handle(method string, key objectKey, body []byte) (*unstructured.Unstructured, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if method == http.MethodPost || method == http.MethodPut {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		if key.name = object.GetName(); method == http.MethodPost && a.objects[key] != nil {
			return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: key.resource}, key.name)
		}
		return a.put(key, object), nil
	}
	object := a.objects[key]
	if object == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: key.resource}, key.name)
	}
	switch method {
	case http.MethodPatch:
		patched, err := patch(key.resource, object, body)
		if err != nil {
			return nil, err
		}
		return a.put(key, patched), nil
	case http.MethodDelete:
		delete(a.objects, key)
		a.tell(key.resource, watch.Deleted, object)
	}
	return object, nil
}

// patch merges a strategic merge patch, whose lists are merged as the type of the object says.
func patch(resource string, object *unstructured.Unstructured, patch []byte) (*unstructured.Unstructured, error) {
	like, ok := map[string]any{"nodes": v1.Node{}, "pods": v1.Pod{}}[resource]
	if !ok {
		return nil, fmt.Errorf("patch %s: of an unknown type", resource)
	}
	before, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, like)
	if err != nil {
		return nil, err
	}
	patched := &unstructured.Unstructured{}
	return patched, patched.UnmarshalJSON(after)
}

// put stores an object in the place of the one there was.
func (a *apiServer) put(key objectKey, object *unstructured.Unstructured) *unstructured.Unstructured {
	kind := watch.Modified
	if a.objects[key] == nil {
		kind = watch.Added
	}
	object.SetResourceVersion(strconv.Itoa(len(a.changes) + 1))
	a.objects[key] = object
	a.tell(key.resource, kind, object)
	return object
}

func (a *apiServer) tell(resource string, kind watch.EventType, object *unstructured.Unstructured) {
	a.changes = append(a.changes, change{resource, kind, object})
	close(a.changed)
	a.changed = make(chan struct{})
}
