# Opens the README first. A user setting: those of the folder are read too late where the IDE is slow to start.
sed -i 's/"workbench.startupEditor": "none"/"workbench.startupEditor": "readme"/' ~/.local/share/code-server/User/settings.json
# Fetches what the app needs, so that it starts without a network. Where Maven's repository can't be reached the
# workspace is made all the same: then the first start in it needs the repository.
if mvn --batch-mode --quiet package && mvn --batch-mode --quiet spring-boot:help; then
  echo "The app's dependencies are in the image."
else
  echo "Maven's repository can't be reached from here: the app's dependencies are NOT in the image."
fi
